/** What the next turn will be: pictures with masks, an instruction, settings; and what the model will remember. */
import { h, iconButton } from './dom.mjs'
import { addressOf, labelOf, picturesIn, upload } from './files.mjs'
import { InstructionEditor, colorOf } from './instruction.mjs'
import { paint } from './painter.mjs'
import { nameOf } from './names.mjs'
import { phrasingsMenu } from './phrasings.mjs'
import { MAX_IMAGES, ROUNDS, branch, fileOf, find, newId, remembered } from './record.mjs'
import { t } from './words.mjs'
import { hasPicture } from './workflow.mjs'

const SEEDS = 2 ** 50 // as ComfyUI's page draws them: a number that JavaScript keeps exact
const TOKENS = 120
const NUMBERS = { // setting: [least, most, step, fallback, label]
  steps: [0, 1000, 1, 0, 'Steps (0: the model’s own)'],
  guidance: [0, 100, 0.1, 4.5, 'Guidance'],
  rescale: [0, 1, 0.05, 0.5, 'Rescale'],
  width: [0, 4096, 16, 0, 'Width (0: as the picture)'],
  height: [0, 4096, 16, 0, 'Height (0: as the picture)'],
  max_rounds: [0, 9, 1, ROUNDS, 'Turns to remember'],
  grow: [0, 256, 1, 8, 'Grow the mask (pixels)'],
  feather: [0, 256, 1, 8, 'Feather (pixels)']
}
const SAMPLERS = ['euler', 'lcm']

export class Composer {
  constructor(panel) {
    this.panel = panel
    this.drafts = new Map() // conversation → what was not sent
    this.trouble = '' // stays until something is attached or sent
    this.others = {} // settings without a field
    this.editor = new InstructionEditor({
      pictures: () => this.offered(), onchange: () => this.meter(), onsend: () => this.send(), label: t('Instruction'),
      placeholder: t('What to do with {image}? Enter sends.')
    })
    this.row = h('div.ace-attached')
    this.gauge = h('div.ace-meter', { role: 'status',
      title: t('Pictures that the model will see, earlier turns that it will remember, and how long the instruction is.') })
    this.state = h('p.ace-hint')
    this.wrong = h('p.ace-error', { role: 'alert', hidden: true })
    this.file = h('input', { type: 'file', accept: 'image/*', multiple: true, hidden: true, onchange: () => this.attach([...this.file.files]).then(() => (this.file.value = '')) })
    this.fields = Object.fromEntries(Object.entries(NUMBERS).map(([name, [min, max, step, value]]) =>
      [name, h('input', { type: 'number', min, max, step, value, onkeydown: (event) => event.stopPropagation(), oninput: () => this.meter() })]))
    this.sampler = h('select', { onkeydown: (event) => event.stopPropagation() })
    this.negative = h('input', { type: 'text', maxLength: 2000, onkeydown: (event) => event.stopPropagation() })
    this.blank = h('input', { type: 'checkbox' })
    this.seed = h('input', { type: 'number', min: 0, max: SEEDS, placeholder: t('random'), onkeydown: (event) => event.stopPropagation() })
    this.element = h('div.ace-composer', {}, this.state, this.wrong, this.row, this.editor.element, h('div.ace-buttons', {},
      iconButton('image', t('Attach a picture'), () => this.file.click()), this.file, phrasingsMenu((text) => this.editor.fill(text)), h('span.ace-space'),
      h('button.primary', { type: 'button', onclick: () => this.send() }, t('Send'))), this.gauge,
    h('details.ace-settings', {}, h('summary', {}, t('Settings')),
      Object.entries(NUMBERS).map(([name, [, , , , label]]) => h('label', {}, t(label), this.fields[name])),
      h('label', {}, t('Sampler (lcm: with a LoRA for few steps)'), this.sampler),
      h('label', {}, t('Negative instruction'), this.negative), h('label', {}, t('Seed'), this.seed),
      h('label', {}, t('Hide what is under the masks from the model'), this.blank)))
    this.reset()
  }

  reset() {
    this.base = undefined // undefined: the turn that is looked at
    this.pictures = null // null: the answer that the turn goes on from
    this.editing = null
    this.blank.checked = false // goes with masks, and masks go with pictures
  }

  /** [{picture, mask, room, target}] of the turn to be. target: whether it gives size and mask, if that is not the first. */
  get attached() {
    if (this.pictures) return this.pictures
    const at = this.parent
    return at ? [{ picture: { answer_of: at }, mask: null, room: null }] : []
  }

  get target() {
    return Math.max(0, this.attached.findIndex(({ target }) => target))
  }

  /** Whether the turn to be takes the picture that is connected to the node. */
  get connected() {
    return !this.attached.length && !this.parent && hasPicture(this.panel.current?.node)
  }

  get parent() {
    return this.base === undefined ? this.panel.record.at : this.base
  }

  /** How many pictures the turn to be has. */
  get count() {
    return this.attached.length || Number(this.connected)
  }

  /** Pictures that an instruction may name: the turn's, then those of earlier turns. */
  offered() {
    const record = this.panel.record
    const shown = (picture) => {
      const file = fileOf(record, picture)
      return file && addressOf(file)
    }
    const own = this.attached.map(({ picture }, number) => ({ back: 0, number, address: shown(picture), label: labelOf(record, picture) }))
    if (this.connected) own.push({ back: 0, number: 0, address: null, label: t('the connected picture') })
    const { kept } = remembered(branch(record, this.parent), this.count, Number(this.fields?.max_rounds.value ?? ROUNDS))
    const earlier = kept.toReversed().flatMap((turn, i) => (turn.images ?? []).map((picture, number) =>
      ({ back: i + 1, number, address: shown(picture), label: t('before “{0}”', turn.instruction) })))
    return [...own, ...earlier]
  }

  draw(record) {
    const { place } = this.panel
    if (place !== this.place) this.open(place, record)
    if (this.base && !find(record, this.base)) this.reset()
    if (this.pictures) this.pictures = this.pictures.filter(({ picture }) => !picture.answer_of || find(record, picture.answer_of)) // undone
    this.row.replaceChildren(...this.attached.map((item, number) => this.chip(record, item, number)))
    const base = find(record, this.parent)
    this.state.replaceChildren(this.editing ? t('A new version of “{0}”', this.editing.slice(0, 60))
      : this.base !== undefined && base ? t('Goes on from “{0}”', base.instruction.slice(0, 60)) : '')
    if (this.editing || this.base !== undefined)
      this.state.append(' ', h('button.ace-link', { type: 'button', onclick: () => {
        this.reset()
        this.draw(this.panel.record)
      } }, t('Cancel')))
    this.wrong.textContent = this.trouble
    this.wrong.hidden = !this.trouble
    if (document.activeElement !== this.editor.box) this.editor.draw()
    this.meter()
  }

  /** Put the draft for one conversation away, and take up that for another. */
  open(place, record) {
    const fields = [...Object.values(this.fields), this.negative, this.seed]
    if (this.place) this.drafts.set(this.place, { base: this.base, pictures: this.pictures, editing: this.editing, others: this.others,
      text: this.editor.value, blank: this.blank.checked, sampler: this.sampler.value, values: fields.map((field) => field.value) })
    this.place = place
    this.reset()
    this.trouble = ''
    const draft = this.drafts.get(place)
    this.drafts.delete(place)
    this.editor.set(draft?.text ?? '')
    if (draft) {
      Object.assign(this, { base: draft.base, pictures: draft.pictures, editing: draft.editing, others: draft.others })
      this.blank.checked = draft.blank
      this.sample(draft.sampler)
      for (const [i, field] of fields.entries()) field.value = draft.values[i]
    } else this.take(find(record, record.at) ?? {})
  }

  chip(record, item, number) {
    const file = fileOf(record, item.picture)
    const mask = fileOf(record, item.mask)
    const name = nameOf(number)
    return h('figure.ace-attachment', { style: `--chip: ${colorOf(number)}` },
      file ? h('img', { src: addressOf(file), alt: t('the picture {0}', name) }) : h('span', {}, t('waits for its answer')),
      mask && h('img.ace-mask', { src: addressOf(mask), alt: t('its mask') }),
      h('figcaption', {}, name.slice(1, -1) + (item.room?.some(Boolean) ? ' ⤢' : '')),
      file && iconButton('pencil', t('Paint a mask on {0}', name), () => this.paint(item, number)),
      iconButton('times', t('Take {0} away', name), () => {
        this.pictures = this.attached.filter((_, i) => i !== number)
        this.draw(this.panel.record)
      }))
  }

  async paint(item, number) {
    const record = this.panel.record
    const before = fileOf(record, item.mask)
    await this.guarded(() => paint({
      address: addressOf(fileOf(record, item.picture)), mask: before && addressOf(before), room: item.room ?? undefined, allowRoom: number === this.target,
      done: async ({ mask, room, changed }) => {
        if (!changed) return
        const saved = mask && await upload(mask, `mask-${Date.now()}.png`, 'ace_masks')
        this.pictures = this.attached.map((other, i) => (i === number ? { ...other, mask: saved, room: room.some(Boolean) ? room : null } : other))
        this.draw(this.panel.record)
      }
    }))
  }

  async attach(files) {
    if (files.length) this.say('')
    const { place } = this
    for (const file of files) {
      if (this.attached.length >= MAX_IMAGES) {
        this.say(t('A turn has at most {0} pictures.', MAX_IMAGES))
        break
      }
      const picture = await this.guarded(() => upload(file, file.name))
      if (place !== this.place) return // another conversation was opened meanwhile
      if (picture) this.pictures = [...this.attached, { picture, mask: null, room: null }]
    }
    this.draw(this.panel.record)
  }

  async drop(event) {
    event.preventDefault()
    event.stopPropagation()
    await this.attach(await this.guarded(() => picturesIn(event.dataTransfer)) ?? [])
  }

  async paste(event) {
    if (![...event.clipboardData.files].some((file) => file.type.startsWith('image/'))) return
    event.preventDefault()
    event.stopPropagation()
    await this.attach(await picturesIn(event.clipboardData))
  }

  async guarded(act) {
    try {
      return await act()
    } catch (error) {
      this.say(error.message)
      return null
    }
  }

  say(text) {
    this.trouble = text
    this.draw(this.panel.record)
  }

  goOn(turn) {
    this.reset()
    this.base = turn.id
    this.take(turn)
    this.draw(this.panel.record)
    this.editor.focus()
  }

  edit(turn) {
    this.base = turn.parent ?? null
    this.editing = turn.instruction || turn.id
    const target = turn.settings?.target_image ?? 0
    this.pictures = (turn.images ?? []).map((picture, i) => (
      { picture, mask: turn.masks?.[i] ?? null, room: i === target ? turn.room ?? null : null, target: i === target }))
    this.take(turn)
    this.blank.checked = Boolean(turn.blank)
    this.editor.set(turn.instruction)
    this.draw(this.panel.record)
    this.editor.focus()
  }

  /** The settings of a turn, for the next; but not which of its own pictures was the target. */
  take(turn) {
    const { negative = '', sampler = SAMPLERS[0], target_image: _, ...settings } = turn.settings ?? {}
    for (const name in NUMBERS) this.fields[name].value = settings[name] ?? NUMBERS[name][3]
    this.negative.value = negative
    this.sample(sampler)
    this.others = Object.fromEntries(Object.entries(settings).filter(([name]) => !(name in NUMBERS)))
  }

  /** Choose a sampler; one that is not on offer, too, for ComfyUI has more. */
  sample(name) {
    this.sampler.replaceChildren(...[...new Set([...SAMPLERS, name])].map((one) => h('option', {}, one)))
    this.sampler.value = name
  }

  /** The same turn with another seed, beside it. */
  again(turn) {
    const { answer, ...rest } = turn
    return this.panel.send({ ...rest, id: newId(this.panel.record), seed: randomSeed(), meta: { ...rest.meta, made: new Date().toISOString() } })
  }

  async send() {
    if (this.place !== this.panel.place) return this.draw(this.panel.record) // the page has another workflow open by now
    const text = this.editor.value.trim()
    if (!text) return this.say(t('Write what to do first.'))
    const { attached, target } = this
    const settings = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.value === '' ? NUMBERS[name][3] : Number(field.value)]))
    for (const [name, field] of Object.entries(this.fields))
      if (!field.checkValidity()) return this.say(`${t(NUMBERS[name][4])}: ${field.validationMessage}`)
    if (!attached.length && !this.connected && !settings.width) Object.assign(settings, { width: 512, height: 512 })
    const turn = {
      id: newId(this.panel.record), parent: this.parent ?? null, instruction: text, images: attached.map(({ picture }) => picture),
      masks: attached.map(({ mask }) => mask), blank: this.blank.checked, seed: this.seed.value === '' ? randomSeed() : Number(this.seed.value),
      settings: { ...this.others, ...settings, target_image: target, negative: this.negative.value, sampler: this.sampler.value }, meta: { made: new Date().toISOString() }
    }
    const room = attached[target]?.room
    if (room?.some(Boolean)) turn.room = room
    this.reset()
    this.trouble = ''
    this.editor.set('')
    this.seed.value = ''
    await this.panel.send(turn)
  }

  /** Pictures of nine, turns remembered, tokens of 120; and which turn goes next. */
  meter() {
    const record = this.panel.record
    const earlier = branch(record, this.parent)
    const rounds = Number(this.fields.max_rounds.value)
    const { kept, pictures } = remembered(earlier, this.count, rounds)
    const tokens = estimate(this.editor.value)
    const parts = [t('{0} of {1} pictures', pictures, MAX_IMAGES), t('{0} of {1} turns', kept.length, earlier.length),
      t('about {0} of {1} tokens', tokens, TOKENS)]
    this.gauge.textContent = parts.join(' · ')
    this.gauge.classList.toggle('full', tokens > TOKENS || pictures > MAX_IMAGES)
    const going = kept.length < earlier.length ? earlier.slice(0, earlier.length - kept.length)
      : kept.length === rounds || pictures === MAX_IMAGES ? kept.slice(0, 1) : []
    const ids = (turns) => new Set(turns.map((turn) => turn.id))
    const [before, known, leaving] = [earlier, kept, going].map(ids)
    for (const card of this.panel.element.querySelectorAll('.ace-turn')) {
      const { turn } = card.dataset
      const lost = before.has(turn) && !known.has(turn)
      const next = !lost && leaving.has(turn)
      card.classList.toggle('forgotten', lost)
      card.classList.toggle('next', next)
      card.title = lost ? t('The model has forgotten this turn.') : next ? t('The model will forget this turn next.') : ''
    }
  }
}

const randomSeed = () => Math.floor(Math.random() * SEEDS)

/** T5 takes about one token per short word, and one per four letters of a long one. */
export const estimate = (text) =>
  text.split(/\s+/).filter(Boolean).reduce((sum, word) => sum + Math.max(1, Math.ceil(word.length / 4)), 0) + (text ? 1 : 0)
