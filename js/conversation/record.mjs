/** The LCU record (docs/record.md) as the panel edits it. Records are never changed in place: every function gives a new one. */

export const EMPTY = { version: 1, at: null, turns: [] }
export const MAX_IMAGES = 9
export const ROUNDS = 5

const ID = /^[A-Za-z0-9_-]{1,64}$/

/** The record in a widget, or why it is none: {record} or {error}. */
export function parse(text) {
  try {
    const record = JSON.parse(text || JSON.stringify(EMPTY))
    if (record?.version > 1) return { error: `version ${record.version}` }
    if (record?.version !== 1 || !Array.isArray(record.turns) || record.turns.length > MOST_TURNS) return { error: 'not a record' }
    return check({ at: null, ...record })
  } catch (error) {
    return { error: error.message }
  }
}

const MOST_TURNS = 10_000 // as in Python

/** What the panel draws and follows must be there; the node checks the rest. */
function check(record) {
  const known = new Set()
  for (const [number, turn] of record.turns.entries()) {
    if (!isTurn(turn, known)) return { error: `turns[${number}]` }
    known.add(turn.id)
  }
  return known.size ? (known.has(record.at) ? { record } : { error: 'at' }) : { record: { ...record, at: null } }
}

function isTurn(turn, known) {
  const object = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)
  const maybe = (value, is) => value === undefined || value === null || is(value)
  const picture = (value) => object(value) && (typeof value.file === 'string' || known.has(value.answer_of))
  const pictures = (value, is) => value === undefined || (Array.isArray(value) && value.every(is))
  return object(turn) && typeof turn.id === 'string' && ID.test(turn.id) && !known.has(turn.id) && typeof turn.instruction === 'string'
    && maybe(turn.parent, (id) => known.has(id)) && pictures(turn.images, picture)
    && pictures(turn.masks, (mask) => maybe(mask, picture)) && (turn.settings === undefined || object(turn.settings))
    && maybe(turn.room, Array.isArray) && maybe(turn.answer, ({ file, key }) => typeof file === 'string' && typeof key === 'string') && (turn.meta === undefined || object(turn.meta))
}

export const find = (record, id) => record.turns.find((turn) => turn.id === id)

/** The turns from the first to `at`, oldest first. */
export function branch(record, at = record.at) {
  const out = []
  const known = new Map(record.turns.map((turn) => [turn.id, turn]))
  for (let turn = known.get(at); turn && out.length <= record.turns.length; turn = known.get(turn.parent)) out.unshift(turn)
  return out
}

/** Every turn whose answer the branch shows or takes: what a run makes. */
export function needed(record) {
  const wanted = new Set(branch(record).map((turn) => turn.id))
  for (const turn of record.turns.toReversed())
    if (wanted.has(turn.id))
      for (const id of [turn.parent, ...[...(turn.images ?? []), ...(turn.masks ?? [])].map((picture) => picture?.answer_of)]) wanted.add(id)
  return record.turns.filter((turn) => wanted.has(turn.id))
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

/** Unlike that of any turn elsewhere: two workflows from one template have the same node ids, and answers must not go astray. */
export const newId = (record) => `t${record.turns.length + 1}-${Math.random().toString(36).slice(2, 12)}`

/** With a turn added and looked at. */
export const added = (record, turn) => ({ ...record, turns: [...record.turns, turn], at: turn.id })

export const lookAt = (record, at) => ({ ...record, at })

/** With answers {id: {file, in, key}}. */
export const answered = (record, answers) => ({
  ...record,
  turns: record.turns.map((turn) => (answers[turn.id] ? { ...turn, answer: answers[turn.id] } : turn))
})

/** The same with another text: of inputs that it knows ComfyUI tells no answers again. No key depends on meta. */
export const stirred = (record) => ({
  ...record,
  turns: record.turns.map((turn) => (turn.id === record.at ? { ...turn, meta: { ...turn.meta, run: new Date().toISOString() } } : turn))
})

/** The file that a picture of a turn is, or null while the answer that it stands for is not there. */
export function fileOf(record, picture) {
  if (!picture?.answer_of) return picture ?? null
  return find(record, picture.answer_of)?.answer ?? null
}

/**
 * Which earlier turns of a branch a new turn with `images` pictures remembers, and how many pictures all have together. Every
 * turn forgot by its own max_rounds, and what one forgot none remembers after it.
 */
export function remembered(earlier, images, rounds = ROUNDS) {
  const count = (turns) => turns.reduce((sum, turn) => sum + (turn.images?.length ?? 0), 0)
  const fitting = (turns, own, most) => {
    let kept = most > 0 ? turns.slice(-most) : []
    while (kept.length && count(kept) + own > MAX_IMAGES) kept = kept.slice(1)
    return kept
  }
  let all = []
  for (const turn of earlier) all = [...fitting(all, count([turn]), turn.settings?.max_rounds ?? ROUNDS), turn]
  const kept = fitting(all, images, rounds)
  return { kept, pictures: count(kept) + images }
}
