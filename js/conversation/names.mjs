/** Names of pictures in instructions: {image}, {image1}, {previous.image}. */

const NAME = /\{(?:previous([1-9]\d{0,3}|)\.)?image(0|[1-9]\d{0,3}|)\}/g
const BRACES = /(?<![{｛])[{｛]([\p{L}\p{N}_\s.#()[\]-]+)[,;:!?]?[}｝](?![}｝])/gu // no JSON, no {a|b}
const NEAR = 0.8

export const nameOf = (number, back = 0) =>
  `{${back === 0 ? '' : back === 1 ? 'previous.' : `previous${back}.`}image${number || ''}}`

/** Every name in a text: [{text, index, back, number}]. */
export function namesIn(text) {
  return [...text.matchAll(NAME)].map((match) => ({
    text: match[0],
    index: match.index,
    back: match[1] === undefined ? 0 : Number(match[1] || 1),
    number: Number(match[2] || 0)
  }))
}

/** Whether what stands in braces is probably a mistyped name: imgae, image 1, picture2. As `check_placeholders` in Python. */
export function misspelt(word) {
  const plain = word.normalize('NFKC').toLowerCase().replace(/[^\p{L}\p{N}]/gu, '')
    .replace(/^prev(?=[0-9]|im|pic|$)/, 'previous')
    .replace(/^(previous[0-9]*|)(?:img(?!ae)|pic(?:ture)?(?=s?[0-9]*$))/, '$1image')
  const letters = plain.replace(/[0-9]/g, '')
  return ['image', 'previous', 'previousimage'].some((name) => (2 * common(letters, name)) / (letters.length + name.length) >= NEAR)
}

/** The length of the longest common subsequence. */
function common(a, b) {
  let row = new Array(b.length + 1).fill(0)
  for (const letter of a) {
    const next = [0]
    for (let j = 1; j <= b.length; j++) next[j] = letter === b[j - 1] ? row[j - 1] + 1 : Math.max(row[j], next[j - 1])
    row = next
  }
  return row[b.length]
}

/**
 * The pieces of a text; kind: 'words', 'name', 'missing' or 'misspelt'. known(back, number): whether that picture is there.
 * @returns {Array<{text: string, kind: string, back?: number, number?: number}>}
 */
export function pieces(text, known) {
  const marked = namesIn(text).map((name) => ({ ...name, kind: known(name.back, name.number) ? 'name' : 'missing' }))
  for (const match of text.matchAll(BRACES)) {
    const taken = marked.some((name) => name.index < match.index + match[0].length && match.index < name.index + name.text.length)
    if (!taken && misspelt(match[1]))
      marked.push({ text: match[0], index: match.index, kind: 'misspelt', back: 0, number: Number(match[0].replace(/\D/g, '') || 0) })
  }
  marked.sort((a, b) => a.index - b.index)
  /** @type {ReturnType<typeof pieces>} */
  const out = []
  let end = 0
  for (const piece of marked) {
    if (piece.index > end) out.push({ text: text.slice(end, piece.index), kind: 'words' })
    out.push(piece)
    end = piece.index + piece.text.length
  }
  if (end < text.length) out.push({ text: text.slice(end), kind: 'words' })
  return out
}
