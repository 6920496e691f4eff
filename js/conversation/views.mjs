/** A picture at full size, and an answer beside its original. */
import { dialog, h } from './dom.mjs'
import { addressOf } from './files.mjs'
import { t } from './words.mjs'

export function full(picture) {
  const box = dialog(t('Full size'), h('img.ace-full', { src: addressOf(picture), alt: picture.file, onclick: () => box.close() }), { light: true })
}

/** A slider between a turn's original and its answer, which has room around the original if the turn made some. */
export function compare(before, turn) {
  const [left, top, right, bottom] = turn.room ?? [0, 0, 0, 0]
  const [wide, tall] = [1 + left + right, 1 + top + bottom]
  const percent = (part) => `${100 * part}%`
  const old = h('img', { src: addressOf(before), alt: t('Original') })
  Object.assign(old.style, { left: percent(left / wide), top: percent(top / tall), width: percent(1 / wide), height: percent(1 / tall) })
  const over = h('div.ace-original', {}, old)
  const slider = h('input', { type: 'range', min: 0, max: 100, value: 50, 'aria-label': t('Original to answer'), oninput: () => cut() })
  const cut = () => (over.style.clipPath = `inset(0 ${100 - Number(slider.value)}% 0 0)`)
  cut()
  const box = dialog(t('Compare with the original'), [
    h('div.ace-compare', {}, h('img', { src: addressOf(turn.answer, turn.answer.key), alt: t('Answer') }), over), slider,
    h('div.ace-sides', {}, h('span', {}, t('Original')), h('span', {}, t('Answer'))),
    h('div.ace-buttons', {}, h('button', { type: 'button', onclick: () => box.close() }, t('Close')))], { light: true })
  slider.focus()
}
