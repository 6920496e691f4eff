/** One turn as the panel draws it: what was asked, the answer or how far it is, and what can be done with it. */
import { copy, h, iconButton } from './dom.mjs'
import { addressOf, labelOf } from './files.mjs'
import { colorOf } from './instruction.mjs'
import { namesIn, pieces } from './names.mjs'
import { fileOf, siblings } from './record.mjs'
import { compare, full } from './views.mjs'
import { t } from './words.mjs'
import { hasPicture, toLoadImage } from './workflow.mjs'

/** The turn of a branch that a name of its turn `at` belongs to. */
const named = (turns, at, back) => (back ? turns[at - back] : turns[at])

/** The files that the card of the branch's turn `at` shows. */
export function shownBy(record, turns, at) {
  const { instruction, images = [], masks = [] } = turns[at]
  const earlier = namesIn(instruction).filter(({ back }) => back).map(({ back, number }) => named(turns, at, back)?.images?.[number])
  return [...images, ...masks, ...earlier].map((picture) => fileOf(record, picture))
}

/** The card of the branch's turn `at`. */
export function card(panel, record, turns, at) {
  const turn = turns[at]
  const { id } = panel.current
  const state = panel.runs.of(id, turn)
  const maker = panel.runs.makerOf(id)
  const all = siblings(record, turn)
  const place = all.indexOf(turn)
  const other = turn.answer && maker && !turn.answer.key.endsWith(`-${maker}`)
  return h(`li.ace-turn.${state.state}`, { tabIndex: 0, dataset: { turn: turn.id }, 'aria-label': turn.instruction || t('a turn') },
    h('div.ace-asked', {},
      all.length > 1 && h('div.ace-siblings', {},
        iconButton('chevron-left', t('Branch before'), () => panel.sibling(turn, -1), { disabled: place === 0 }),
        h('span', {}, t('{0} of {1}', place + 1, all.length)),
        iconButton('chevron-right', t('Branch after'), () => panel.sibling(turn, 1), { disabled: place === all.length - 1 })),
      h('div.ace-words', {}, words(panel, record, turns, at)),
      turn.images?.length > 0 && h('div.ace-pictures', {}, turn.images.map((picture, i) => thumbnail(record, turn, picture, i)))),
    h('div.ace-answer', {}, answer(panel, turn, state)),
    other && h('p.ace-hint', {}, t('Made by another model.')),
    h('footer', {}, h('span.ace-hint', {}, t('seed {0}', turn.seed ?? 0), turn.meta?.made ? ` · ${new Date(turn.meta.made).toLocaleTimeString()}` : ''),
      h('span.ace-acts', {}, turn.answer && buttons(panel, record, turn),
        iconButton('refresh', t('Another seed'), () => panel.composer.again(turn), { disabled: state.state === 'running' }),
        iconButton('pencil', t('Edit and send again'), () => panel.composer.edit(turn)),
        iconButton('copy', t('Copy the instruction'), () => copy(turn.instruction)))))
}

function buttons(panel, record, turn) {
  const before = fileOf(record, turn.images?.[turn.settings?.target_image ?? 0])
  return [
    iconButton('reply', t('Go on from here'), () => panel.composer.goOn(turn)),
    before && iconButton('arrows-h', t('Compare with the original'), () => compare(before, turn)),
    iconButton('send', t('Send to Load Image'), () => toLoadImage(turn.answer, panel.element.getBoundingClientRect().right))
  ]
}

/** The instruction with its names as chips: as text, never as markup. */
function words(panel, record, turns, at) {
  const turn = turns[at]
  const count = turn.images?.length || Number(!turn.parent && hasPicture(panel.current.node))
  return pieces(turn.instruction, (back, number) => back > 0 || number < count).map((piece) => {
    if (piece.kind === 'words') return piece.text
    const file = fileOf(record, named(turns, at, piece.back)?.images?.[piece.number])
    return h(`span.ace-chip.${piece.kind}`, { style: `--chip: ${piece.kind === 'name' ? colorOf(piece.number) : 'var(--ace-wrong)'}` },
      file && h('img', { src: addressOf(file), alt: '', loading: 'lazy' }), piece.text.slice(1, -1))
  })
}

function thumbnail(record, turn, picture, number) {
  const file = fileOf(record, picture)
  const mask = fileOf(record, turn.masks?.[number])
  const wider = number === (turn.settings?.target_image ?? 0) && turn.room?.some(Boolean)
  return h('button.ace-thumbnail', { type: 'button', title: labelOf(record, picture), onclick: () => file && full(file),
    style: `--chip: ${colorOf(number)}` },
  file ? h('img', { src: addressOf(file), alt: labelOf(record, picture), loading: 'lazy', onerror: gone }) : '…',
  mask && h('img.ace-mask', { src: addressOf(mask), alt: t('its mask'), loading: 'lazy' }),
  wider && h('span.ace-room', { title: t('with room around it') }, '⤢'))
}

function answer(panel, turn, state) {
  if (state.state === 'failed')
    return [h('p.ace-error', { role: 'alert' }, state.error), h('button', { type: 'button', onclick: () => panel.runAgain() }, t('Try again'))]
  if (under(state))
    return [h('img.ace-preview', { alt: t('Preview'), hidden: true }), h('p', { role: 'status' }), h('progress', { 'aria-label': t('Progress') }), ' ',
      h('button', { type: 'button', onclick: () => panel.runs.stop(panel.current.id, panel.record) }, t('Stop'))]
  if (!turn.answer) return h('button', { type: 'button', onclick: () => panel.runAgain() }, t('Run'))
  return h('button.ace-picture', { type: 'button', onclick: () => full(turn.answer), title: t('Full size') },
    h('img', { src: addressOf(turn.answer, turn.answer.key), alt: t('Answer to: {0}', turn.instruction), draggable: true, loading: 'lazy',
      onerror: (event) => event.target.closest('button').replaceWith(h('span.ace-gone', {}, t('The file is gone. Run makes it again.')),
        h('button', { type: 'button', onclick: () => panel.runAgain(turn) }, t('Run'))) }))
}

const under = ({ state }) => state === 'waiting' || state === 'running'

/** How far a run is, on a card that stays: a button that is replaced under the pointer loses the click. */
export function advance(element, state) {
  if (!under(state)) return
  const [preview, status, bar] = ['.ace-preview', '[role=status]', 'progress'].map((name) => element.querySelector(`.ace-answer ${name}`))
  status.textContent = state.state === 'waiting' ? t('waiting') : t('step {0} of {1}', state.step ?? 0, state.steps ?? '?')
  Object.assign(bar, { max: state.steps ?? 1, value: state.step ?? 0 })
  preview.hidden = !state.preview
  if (state.preview && preview.src !== state.preview) preview.src = state.preview
}

function gone(event) {
  event.target.replaceWith(h('span.ace-gone', {}, t('The file is gone.')))
}
