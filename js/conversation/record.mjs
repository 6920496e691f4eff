/** The LCU record (docs/record.md) as the panel edits it. Records are never changed in place: every function gives a new one. */

export const EMPTY = { version: 1, at: null, turns: [] }
export const MAX_IMAGES = 9
export const ROUNDS = 5

/** The record in a widget, or why it is none: {record} or {error}. */
export function parse(text) {
  try {
    const record = JSON.parse(text || JSON.stringify(EMPTY))
    if (record?.version > 1) return { error: `version ${record.version}` }
    if (record?.version !== 1 || !Array.isArray(record.turns)) return { error: 'no record' }
    return { record: { at: null, ...record } }
  } catch (error) {
    return { error: error.message }
  }
}

export const find = (record, id) => record.turns.find((turn) => turn.id === id)

/** The turns from the first to `at`, oldest first. */
export function branch(record, at = record.at) {
  const out = []
  const known = new Map(record.turns.map((turn) => [turn.id, turn]))
  for (let turn = known.get(at); turn && out.length <= record.turns.length; turn = known.get(turn.parent)) out.unshift(turn)
  return out
}

export const siblings = (record, turn) =>
  record.turns.filter((other) => (other.parent ?? null) === (turn.parent ?? null))

/** The newest turn below `id`, itself if none goes on from it. */
export function leaf(record, id) {
  for (;;) {
    const next = record.turns.filter((turn) => turn.parent === id).at(-1)
    if (!next) return id
    id = next.id
  }
}

export function newId(record) {
  for (let number = record.turns.length + 1; ; number++)
    if (!find(record, `t${number}`)) return `t${number}`
}

/** With a turn added and looked at. */
export const added = (record, turn) => ({ ...record, turns: [...record.turns, turn], at: turn.id })

export const lookAt = (record, at) => ({ ...record, at })

/** With answers {id: {file, in, key}}. */
export const answered = (record, answers) => ({
  ...record,
  turns: record.turns.map((turn) => (answers[turn.id] ? { ...turn, answer: answers[turn.id] } : turn))
})

/** The file that a picture of a turn is, or null while the answer that it stands for is not there. */
export function fileOf(record, picture) {
  if (!picture?.answer_of) return picture ?? null
  return find(record, picture.answer_of)?.answer ?? null
}

/** Which earlier turns of a branch a new turn with `images` pictures remembers, and how many pictures all have together. */
export function remembered(earlier, images, rounds = ROUNDS) {
  let kept = rounds > 0 ? earlier.slice(-rounds) : []
  const count = (turns) => turns.reduce((sum, turn) => sum + (turn.images?.length ?? 0), images)
  while (kept.length && count(kept) > MAX_IMAGES) kept = kept.slice(1)
  return { kept, pictures: count(kept) }
}
