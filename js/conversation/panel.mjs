/**
 * The conversation panel: a chat with pictures that drives an ACE Conversation node of the open workflow.
 *
 * The record in the node's widget is the only truth: the panel draws it, adds turns to it, and queues the node. What runs is
 * told by the server's events.
 */
import { app } from '../../../scripts/app.js'
import { h, iconButton, dialog } from './dom.mjs'
import { addressOf } from './files.mjs'
import { Composer } from './composer.mjs'
import { lookAtTurn, previewOf } from './inspect.mjs'
import { EMPTY, added, branch, fileOf, find, leaf, lookAt, parse, siblings, stirred } from './record.mjs'
import { Runs } from './runs.mjs'
import { colorOf } from './instruction.mjs'
import { pieces } from './names.mjs'
import { style } from './style.mjs'
import { learn, t } from './words.mjs'
import { NODE, capture, conversations, hasPicture, root, setWidget, textOf, workflow, write } from './workflow.mjs'

export class Panel {
  constructor() {
    this.chosen = new Map() // workflow → the id of the conversation that was chosen in it
    this.query = ''
    this.cards = new Map() // turn → its card, and what it was drawn from
    this.headDrawn = ''
    this.top = h('div')
    this.body = h('div.ace-body')
    this.element = h('section.ace-panel', { 'aria-label': t('ACE conversation'), onkeydown: (event) => this.key(event) })
    style()
    this.runs = new Runs({ draw: () => this.draw(), write: (record, conversation) => this.write(record, conversation) })
    this.ready = learn().then(() => {
      this.composer = new Composer(this)
      for (const part of [this.top, this.body, this.composer.editor.element]) // a click may come before the panel sees what changed
        part.addEventListener('pointerdown', () => this.look(), { capture: true })
    })
  }

  async show(parent) {
    await this.ready
    if (this.element.parentElement !== parent) parent.replaceChildren(this.element)
    parent.classList.add('ace-tab')
    this.shown = true
    this.draw()
    this.watch ??= setInterval(() => this.look(), 500)
  }

  hide() {
    this.shown = false
    clearInterval(this.watch)
    this.watch = null
  }

  choose(node) {
    this.chosen.set(workflow(), conversations().find((each) => each.node === node)?.id)
    this.draw()
  }

  /** The conversation that is shown: {node, id}, or undefined. */
  get current() {
    const all = conversations()
    return all.find(({ id }) => id === this.chosen.get(workflow())) ?? all[0]
  }

  /** Where that is: a name that lasts while the page lives. */
  get place() {
    return this.current && `${workflow()}/${this.current.id}`
  }

  get read() {
    return parse(textOf(this.current?.node))
  }

  get record() {
    return this.read.record ?? EMPTY
  }

  /** What draws everything anew when it changes. */
  get seen() {
    return JSON.stringify([conversations().map(({ id }) => id), this.place, textOf(this.current?.node)])
  }

  /** Undo, another workflow, another tab of the page, a deleted node: draw again whatever changed the record. */
  look() {
    if (this.seen !== this.drawn) this.draw()
    else this.runs.collect()
  }

  write(record, current = this.current) {
    write(current.node, record)
    this.draw()
  }

  // --- what a person does ----------------------------------------------------------------------------------------------

  /** Add a turn to the record and run it. */
  async send(turn) {
    const current = this.current ?? this.add()
    if (!current || this.read.error) return
    this.write(added(this.record, turn), current)
    await this.run()
  }

  /** Run the node: whatever has no answer on the branch that is looked at, and a turn whose answer's file is gone. */
  async run(lost = null) {
    const { id } = this.current
    const turns = branch(this.record).filter((turn) => !turn.answer || turn.id === lost?.id)
    await this.runs.send(id, turns, async () => {
      await app.queuePrompt(0, 1, [id])
      const errors = app.lastNodeErrors?.[id]?.errors
      if (errors?.length) return errors.map((error) => error.details || error.message).join('\n')
      return Object.keys(app.lastNodeErrors ?? {}).length ? t('ComfyUI refused the workflow.') : ''
    })
  }

  /** The same once more, after an error or without an answer. */
  runAgain(lost = null) {
    this.write(stirred(this.record))
    return this.run(lost)
  }

  /** A new conversation: another node beside the others, with the same models. */
  add() {
    const graph = root()
    const node = window.LiteGraph.createNode(NODE)
    if (!node) return null
    const old = this.current?.node
    if (old) node.pos = [old.pos[0] + 40, old.pos[1] + (old.size?.[1] ?? 200) + 60]
    graph.add(node)
    for (const [slot, input] of (old?.graph === graph ? old.inputs : []).entries()) {
      const link = input.link != null && graph.getLink?.(input.link)
      if (link && input.name !== 'image') graph.getNodeById(link.origin_id)?.connect(link.origin_slot, node, slot)
    }
    this.choose(node)
    return this.current
  }

  /** Draw what the model receives for the turn that is looked at. */
  async inspect() {
    const { node, id } = this.current
    const preview = previewOf(node)
    lookAtTurn(preview, find(this.record, this.record.at))
    app.canvas.selectNode?.(preview)
    app.canvas.centerOnNode?.(preview)
    await app.queuePrompt(0, 1, [`${id.slice(0, -String(node.id).length)}${preview.id}`])
  }

  key(event) {
    if (event.target.closest('.ace-instruction, input, select, textarea, dialog')) return
    const turns = [...this.element.querySelectorAll('.ace-turn')]
    const at = turns.indexOf(event.target.closest('.ace-turn'))
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      const next = turns[Math.max(0, Math.min(turns.length - 1, at + (event.key === 'ArrowDown' ? 1 : -1)))]
      next?.focus()
    } else if (at >= 0 && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')) {
      this.sibling(find(this.record, /** @type {HTMLElement} */ (turns[at]).dataset.turn), event.key === 'ArrowRight' ? 1 : -1)
    } else return
    event.preventDefault()
    event.stopPropagation()
  }

  /** Look at the turn beside, and on to the newest below it. */
  sibling(turn, step) {
    const all = siblings(this.record, turn)
    const next = all[all.findIndex((other) => other.id === turn.id) + step]
    if (next) this.write(lookAt(this.record, leaf(this.record, next.id)))
  }

  // --- drawing -----------------------------------------------------------------------------------------------------------

  /**
   * What changed. Head and composer stay where they are, and so does every card that is the same: an element that is moved
   * loses the focus, and someone may be typing.
   */
  draw() {
    if (!this.shown) return
    this.drawn = this.seen
    const { error } = this.read
    const record = this.record
    if (!this.top.isConnected) this.element.replaceChildren(this.top, this.body, this.composer.element)
    const head = JSON.stringify([conversations().map(({ id, node }) => [id, node.title]), this.current?.id, record.turns.length > 0])
    if (head !== this.headDrawn) this.top.replaceChildren(this.head(record))
    this.headDrawn = head
    this.composer.element.hidden = !this.current || Boolean(error)
    const body = this.body
    const scrolled = body.scrollTop
    const bottom = scrolled + body.clientHeight > body.scrollHeight - 80
    if (!this.current || error || this.query) {
      this.cards.clear()
      body.replaceChildren(!this.current ? this.welcome() : error
        ? h('p.ace-error', { role: 'alert' }, t('This record cannot be shown ({0}). The node keeps it as it is.', error))
        : h('ol.ace-turns', {}, this.found(record)))
    } else this.list(record)
    if (!error) this.composer.draw(record)
    body.scrollTop = bottom ? body.scrollHeight : scrolled
  }

  /** The branch's cards; those that did not change are kept. */
  list(record) {
    const list = this.body.querySelector('ol.ace-turns') ?? h('ol.ace-turns')
    if (list.parentElement !== this.body || !this.cards.size) {
      list.replaceChildren()
      this.body.replaceChildren(list)
    }
    const turns = branch(record)
    const wanted = turns.map((turn) => {
      const all = siblings(record, turn)
      const files = [...(turn.images ?? []), ...turns.flatMap((each) => each.images ?? [])].map((picture) => fileOf(record, picture))
      const seen = JSON.stringify([this.current.id, turn, this.runs.of(this.current.id, turn), all.indexOf(turn), all.length, files, this.runs.makerOf(this.current.id), hasPicture(this.current.node)])
      const known = this.cards.get(turn.id)
      const card = known?.seen === seen ? known.card : this.card(record, turn)
      this.cards.set(turn.id, { seen, card })
      return card
    })
    const focused = /** @type {HTMLElement} */ (document.activeElement?.closest('.ace-turn'))
    for (const [i, card] of wanted.entries()) if (list.children[i] !== card) list.insertBefore(card, list.children[i] ?? null)
    while (list.children.length > wanted.length) list.lastChild.remove()
    if (focused && !focused.isConnected) wanted.find((card) => card.dataset.turn === focused.dataset.turn)?.focus()
    for (const image of list.querySelectorAll('img:not([data-waits])')) {
      /** @type {HTMLElement} */ (image).dataset.waits = ''
      image.addEventListener('load', () => { // pictures that load make the list longer
        if (this.body.scrollTop + this.body.clientHeight > this.body.scrollHeight - 400) this.body.scrollTop = this.body.scrollHeight
      })
    }
  }

  welcome() {
    return h('div.ace-welcome', {}, h('p', {}, t('No conversation in this workflow yet.')),
      h('button.primary', { type: 'button', onclick: () => this.add() && this.draw() }, t('Start one')),
      h('p.ace-hint', {}, t('The template “ACE Talk to your pictures” has one with everything connected.')))
  }

  head(record) {
    const all = conversations()
    const chosen = this.current
    const search = h('input', { type: 'search', value: this.query, placeholder: t('Search'), 'aria-label': t('Search the conversation'),
      onkeydown: (event) => event.stopPropagation(), oninput: () => {
        this.query = search.value
        this.draw()
      } })
    return h('header.ace-head', {},
      all.length > 1 && h('select', { 'aria-label': t('Conversation'), onchange: (event) => {
        this.chosen.set(workflow(), all[event.target.selectedIndex].id)
        this.draw()
      } },
        all.map(({ node, id }) => h('option', { selected: id === chosen?.id }, `${node.title} (${id})`))),
      record.turns.length > 0 && search,
      h('span.ace-space'),
      record.turns.length > 0 && iconButton('eye', t('What the model sees'), () => this.inspect()),
      iconButton('plus', t('New conversation'), () => this.add() && this.draw()),
      iconButton('upload', t('Import a record'), () => this.importRecord()),
      record.turns.length > 0 && iconButton('download', t('Export the record'), () => this.exportRecord(record)))
  }

  /** One turn of the branch. */
  card(record, turn) {
    const state = this.runs.of(this.current.id, turn)
    const maker = this.runs.makerOf(this.current.id)
    const all = siblings(record, turn)
    const at = all.indexOf(turn)
    const other = turn.answer && maker && !turn.answer.key.endsWith(`-${maker}`)
    return h(`li.ace-turn.${state.state}`, { tabIndex: 0, dataset: { turn: turn.id }, 'aria-label': turn.instruction || t('a turn') },
      h('div.ace-asked', {},
        all.length > 1 && h('div.ace-siblings', {},
          iconButton('chevron-left', t('Branch before'), () => this.sibling(turn, -1), { disabled: at === 0 }),
          h('span', {}, t('{0} of {1}', at + 1, all.length)),
          iconButton('chevron-right', t('Branch after'), () => this.sibling(turn, 1), { disabled: at === all.length - 1 })),
        h('div.ace-words', {}, this.words(record, turn)),
        turn.images?.length > 0 && h('div.ace-pictures', {}, turn.images.map((picture, i) => this.thumbnail(record, turn, picture, i)))),
      h('div.ace-answer', {}, this.answer(turn, state)),
      other && h('p.ace-hint', {}, t('Made by another model.')),
      h('footer', {}, h('span.ace-hint', {}, t('seed {0}', turn.seed ?? 0), turn.meta?.made ? ` · ${new Date(turn.meta.made).toLocaleTimeString()}` : ''),
        h('span.ace-space'),
        turn.answer && this.buttons(record, turn),
        iconButton('refresh', t('Another seed'), () => this.composer.again(turn), { disabled: state.state === 'running' }),
        iconButton('pencil', t('Edit and send again'), () => this.composer.edit(turn)),
        iconButton('copy', t('Copy the instruction'), () => navigator.clipboard?.writeText(turn.instruction))))
  }

  buttons(record, turn) {
    const before = fileOf(record, turn.images?.[turn.settings?.target_image ?? 0])
    return [
      iconButton('reply', t('Go on from here'), () => this.composer.goOn(turn)),
      before && iconButton('arrows-h', t('Compare with the original'), () => this.compare(before, turn.answer)),
      iconButton('send', t('Send to Load Image'), () => this.toLoadImage(turn.answer))
    ]
  }

  /** The instruction with its names as chips: as text, never as markup. */
  words(record, turn) {
    const count = turn.images?.length || Number(!turn.parent && hasPicture(this.current.node))
    return pieces(turn.instruction, (back, number) => back > 0 || number < count).map((piece) => {
      if (piece.kind === 'words') return piece.text
      const named = piece.back ? branch(record, turn.id).at(-1 - piece.back) : turn
      const file = fileOf(record, named?.images?.[piece.number])
      return h(`span.ace-chip.${piece.kind}`, { style: `--chip: ${piece.kind === 'name' ? colorOf(piece.number) : 'var(--ace-wrong)'}` },
        file && h('img', { src: addressOf(file), alt: '' }), piece.text.slice(1, -1))
    })
  }

  thumbnail(record, turn, picture, number) {
    const file = fileOf(record, picture)
    const mask = fileOf(record, turn.masks?.[number])
    return h('button.ace-thumbnail', { type: 'button', title: picture.file ?? t('answer of {0}', picture.answer_of),
      onclick: () => file && this.full(file), style: `--chip: ${colorOf(number)}` },
    file ? h('img', { src: addressOf(file), alt: picture.file ?? t('an earlier answer'), loading: 'lazy', onerror: gone }) : '…',
    mask && h('img.ace-mask', { src: addressOf(mask), alt: t('its mask') }))
  }

  answer(turn, state) {
    if (state.state === 'failed')
      return [h('p.ace-error', { role: 'alert' }, state.error), h('button', { type: 'button', onclick: () => this.runAgain() }, t('Try again'))]
    if (state.state === 'waiting' || state.state === 'running')
      return [state.preview && h('img.ace-preview', { src: state.preview, alt: t('Preview') }),
        h('p', { role: 'status' }, state.state === 'waiting' ? t('waiting') : t('step {0} of {1}', state.step ?? 0, state.steps ?? '?')),
        h('progress', { max: state.steps ?? 1, value: state.step ?? 0, 'aria-label': t('Progress') }),
        h('button', { type: 'button', onclick: () => this.runs.stop(this.current.id, this.record) }, t('Stop'))]
    if (!turn.answer) return h('button', { type: 'button', onclick: () => this.runAgain() }, t('Run'))
    return h('button.ace-picture', { type: 'button', onclick: () => this.full(turn.answer), title: t('Full size') },
      h('img', { src: addressOf(turn.answer, turn.answer.key), alt: t('Answer to: {0}', turn.instruction), draggable: true,
        onerror: (event) => event.target.closest('button').replaceWith(h('span.ace-gone', {}, t('The file is gone. Run makes it again.')),
          h('button', { type: 'button', onclick: () => this.runAgain(turn) }, t('Run'))) }))
  }

  found(record) {
    const query = this.query.toLowerCase()
    const hits = record.turns.filter((turn) => turn.instruction.toLowerCase().includes(query))
    return hits.length
      ? hits.map((turn) => h('li.ace-turn', { tabIndex: 0, dataset: { turn: turn.id } },
        h('button.ace-link', { type: 'button', onclick: () => {
          this.query = ''
          this.headDrawn = '' // empties the search field
          this.write(lookAt(record, turn.id))
        } }, turn.instruction)))
      : h('li', {}, t('Nothing found.'))
  }

  full(picture) {
    const box = dialog(t('Full size'), h('img.ace-full', { src: addressOf(picture), alt: picture.file, onclick: () => box.close() }))
  }

  compare(before, after) {
    const top = h('img', { src: addressOf(after), alt: t('Answer') })
    const slider = h('input', { type: 'range', min: 0, max: 100, value: 50, 'aria-label': t('Original to answer'),
      oninput: () => (top.style.clipPath = `inset(0 0 0 ${slider.value}%)`) })
    top.style.clipPath = 'inset(0 0 0 50%)'
    const box = dialog(t('Compare with the original'), [
      h('div.ace-compare', {}, h('img', { src: addressOf(before), alt: t('Original') }), top), slider,
      h('div.ace-buttons', {}, h('button', { type: 'button', onclick: () => box.close() }, t('Close')))])
    slider.focus()
  }

  /** Into the selected Load Image, else into a new one. */
  toLoadImage(answer) {
    const graph = root()
    const selected = Object.values(app.canvas.selected_nodes ?? {}).find((node) => node.comfyClass === 'LoadImage')
    const node = selected ?? window.LiteGraph.createNode('LoadImage')
    if (!selected) {
      node.pos = [...(app.canvas.visible_area ?? [0, 0])].slice(0, 2).map((x) => x + 80)
      graph.add(node)
    }
    const { values } = node.widgets.find((each) => each.name === 'image').options ?? {}
    const value = `${answer.file} [${answer.in}]`
    if (values && !values.includes(value)) values.push(value)
    setWidget(node, 'image', value)
    capture()
  }

  exportRecord(record) {
    const blob = new Blob([JSON.stringify(record, null, 1)], { type: 'application/json' })
    const link = h('a', { href: URL.createObjectURL(blob), download: 'conversation.json' })
    link.click()
    URL.revokeObjectURL(link.href)
  }

  importRecord() {
    const input = h('input', { type: 'file', accept: '.json,application/json', onchange: async () => {
      const { record, error } = parse(await input.files[0].text())
      if (!record) return app.extensionManager.toast.add({ severity: 'error', summary: t('This file is not a record'), detail: error, life: 8000 })
      if ((!this.current || this.read.error || this.record.turns.length) && !this.add()) return
      this.write(record)
    } })
    input.click()
  }
}

function gone(event) {
  event.target.replaceWith(h('span.ace-gone', {}, t('The file is gone.')))
}
