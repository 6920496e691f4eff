/**
 * The conversation panel: a chat with pictures that drives an ACE Conversation node of the open workflow.
 *
 * The record in the node's widget is the only truth: the panel draws it, adds turns to it, and queues the node. What runs is
 * told by the server's events.
 */
import { api } from '../../../scripts/api.js'
import { app } from '../../../scripts/app.js'
import { advance, card, shownBy } from './card.mjs'
import { Composer } from './composer.mjs'
import { h, iconButton } from './dom.mjs'
import { lookAtTurn, previewOf } from './inspect.mjs'
import { EMPTY, added, branch, find, leaf, lookAt, parse, siblings, stirred } from './record.mjs'
import { Runs } from './runs.mjs'
import { style } from './style.mjs'
import { learn, t } from './words.mjs'
import { NODE, conversations, freePlace, hasPicture, roomy, root, textOf, workflow, write } from './workflow.mjs'

const NEAR = 80 // pixels

export class Panel {
  constructor() {
    this.chosen = new Map() // workflow → the id of the conversation that was chosen in it
    this.query = ''
    this.cards = new Map() // turn → its card, and what it was drawn from
    this.headDrawn = ''
    this.top = h('div')
    this.atEnd = true // whether the newest turn stays in view when the list grows
    this.end = 0 // where the list was scrolled to then
    this.body = h('div.ace-body', { onscroll: () => this.scrolled() })
    this.grown = new ResizeObserver(() => this.follow())
    this.grown.observe(this.body)
    this.element = h('section.ace-panel', { 'aria-label': t('ACE conversation'), onkeydown: (event) => this.key(event),
      ondragover: (event) => this.composing && event.preventDefault(), ondrop: (event) => this.composing && this.composer.drop(event),
      onpaste: (event) => this.composing && this.composer.paste(event) })
    style()
    api.addEventListener('reconnected', () => { // pictures that were asked for meanwhile did not come
      this.cards.clear()
      this.draw()
    })
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
    this.atEnd = true
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

  /**
   * That as a record, or why it is none: read once for every text, for it may be long.
   * @returns {{record?: any, error?: string}}
   */
  get read() {
    const text = textOf(this.current?.node)
    if (text !== this.parsed?.text) this.parsed = { text, ...parse(text) }
    return this.parsed
  }

  get record() {
    return this.read.record ?? EMPTY
  }

  /** Whether there is a conversation that can be gone on with. */
  get composing() {
    return Boolean(this.current) && !this.read.error
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
    if (old) node.pos = freePlace(graph, [old.pos[0] + 40, old.pos[1] + old.size[1] + 60], roomy(node))
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
    this.composer.element.hidden = !this.composing
    if (this.place !== this.placed) this.atEnd = true
    this.placed = this.place
    if (!this.composing || this.query || !record.turns.length) {
      this.cards.clear()
      this.body.replaceChildren(!this.current ? this.welcome() : error
        ? h('p.ace-error', { role: 'alert' }, t('This record cannot be shown ({0}). The node keeps it as it is.', error))
        : !record.turns.length ? h('p.ace-welcome.ace-hint', {}, t('Drop a picture here, or attach one. Then write what to do with it, and press Enter.'))
        : h('ol.ace-turns', {}, this.found(record)))
    } else this.list(record)
    if (!error) this.composer.draw(record)
    this.follow()
  }

  /** Keep the newest turn in view, if it was: pictures that load make the list longer. */
  follow() {
    if (!this.atEnd) return
    this.body.scrollTop = this.body.scrollHeight
    this.end = this.body.scrollTop
  }

  /** By a person, who leaves the end only upwards; or by `follow`, and the list has grown since. */
  scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.body
    if (scrollTop + clientHeight > scrollHeight - NEAR) this.atEnd = true
    else if (scrollTop < this.end - NEAR) this.atEnd = false
  }

  /** The branch's cards; those that did not change are kept. */
  list(record) {
    const list = this.body.querySelector('ol.ace-turns') ?? h('ol.ace-turns')
    if (list.parentElement !== this.body || !this.cards.size) {
      list.replaceChildren()
      this.body.replaceChildren(list)
      this.grown.observe(list)
    }
    const turns = branch(record)
    const { id, node } = this.current
    const wanted = turns.map((turn, i) => {
      const all = siblings(record, turn)
      const state = this.runs.of(id, turn)
      const seen = JSON.stringify([id, turn, state.state, state.error, all.indexOf(turn), all.length, shownBy(record, turns, i), this.runs.makerOf(id), hasPicture(node)])
      const known = this.cards.get(turn.id)
      const drawn = known?.seen === seen ? known.card : card(this, record, turns, i)
      advance(drawn, state)
      this.cards.set(turn.id, { seen, card: drawn })
      return drawn
    })
    const focused = /** @type {HTMLElement} */ (document.activeElement?.closest('.ace-turn'))
    for (const [i, card] of wanted.entries()) if (list.children[i] !== card) list.insertBefore(card, list.children[i] ?? null)
    while (list.children.length > wanted.length) list.lastChild.remove()
    if (focused && !focused.isConnected) wanted.find((card) => card.dataset.turn === focused.dataset.turn)?.focus()
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
      record.turns.length > 0 && iconButton('download', t('Export the record'), () => this.exportRecord()))
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

  exportRecord() {
    const blob = new Blob([JSON.stringify(this.record, null, 1)], { type: 'application/json' })
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
