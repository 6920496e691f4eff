/** Pictures of ComfyUI's input and output folders. */
import { api } from '../../../scripts/api.js'
import { find } from './record.mjs'
import { t } from './words.mjs'

/** Where the page finds a picture {file, in}. stamp: any text that changes with the file. */
export function addressOf(picture, stamp = '') {
  const parts = picture.file.split('/')
  const query = new URLSearchParams({ filename: parts.pop(), subfolder: parts.join('/'), type: picture.in ?? 'input' })
  if (stamp) query.set('stamp', stamp)
  return api.apiURL(`/view?${query}`)
}

/** What a person calls a picture of a turn. */
export const labelOf = (record, picture) => picture.file ?? t('Answer to: {0}', find(record, picture.answer_of)?.instruction ?? '')

/** Put a picture into the input folder; gives {file, in}. Throws Error with the server's words. */
export async function upload(blob, name, subfolder = '') {
  const body = new FormData()
  body.append('image', blob, name)
  body.append('type', 'input')
  if (subfolder) body.append('subfolder', subfolder)
  const answer = await api.fetchApi('/upload/image', { method: 'POST', body })
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
  const saved = await answer.json()
  return { file: [saved.subfolder, saved.name].filter(Boolean).join('/'), in: 'input' }
}

/** The pictures in a drop or a paste: files, or pictures dragged from the page (an answer, a node's preview). */
export async function picturesIn(transfer) {
  const files = [...(transfer?.files ?? [])].filter((file) => file.type.startsWith('image/'))
  if (files.length) return files
  const address = transfer?.getData?.('text/uri-list')?.split('\n')[0] || ''
  if (!address || new URL(address, location.href).origin !== location.origin) return []
  const answer = await fetch(address)
  const blob = answer.ok ? await answer.blob() : null
  return blob?.type.startsWith('image/') ? [new File([blob], 'dropped.png', { type: blob.type })] : []
}

export function load(address) {
  return new Promise((resolve, reject) => {
    const image = new Image()
    image.onload = () => resolve(image)
    image.onerror = () => reject(new Error(address))
    image.src = address
  })
}
