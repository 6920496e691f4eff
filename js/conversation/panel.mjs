/**
 * The conversation panel: a chat with pictures that drives an ACE Conversation node of the open workflow.
 *
 * The record in the node's widget is the only truth: the panel draws it, adds turns to it, and queues the node. What runs is
 * told by the server's events.
 */
import { app } from '../../../scripts/app.js'
import { api } from '../../../scripts/api.js'
import { h, iconButton, dialog } from './dom.mjs'
import { addressOf } from './files.mjs'
import { Composer } from './composer.mjs'
import { EMPTY, added, answered, branch, fileOf, find, leaf, lookAt, parse, siblings } from './record.mjs'
import { colorOf } from './instruction.mjs'
import { pieces } from './names.mjs'
import { style } from './style.mjs'
import { learn, t } from './words.mjs'

const NODE = 'ACEEditorConversation'
const INSPECTOR = 'ACEEditorInspector'
const PREVIEW = 'PreviewImage'
const PART = /\.([A-Za-z0-9_-]{1,64}) (latent|answer|unit|lcu|tokens|indicator|image|paste|room)$/ // of an expanded graph

/** The workflow's outermost graph, whichever subgraph is open. */
const root = () => app.graph?.rootGraph ?? app.graph

/** Every conversation node of the workflow, with the id that the server knows it by. */
export function conversations(graph = root(), prefix = '') {
  return (graph?.nodes ?? []).flatMap((node) => {
    if (node.comfyClass === NODE) return [{ node, id: `${prefix}${node.id}` }]
    return node.subgraph ? conversations(node.subgraph, `${prefix}${node.id}:`) : []
  })
}

export class Panel {
  constructor() {
    this.states = new Map() // "node id/turn" → {state, step, steps, preview, error}
    this.maker = new Map() // node id → the second half of the keys that today's models give
    this.marked = null // the node that was chosen
    this.query = ''
    this.cards = new Map() // turn → its card, and what it was drawn from
    this.headDrawn = ''
    this.top = h('div')
    this.body = h('div.ace-body')
    this.element = h('section.ace-panel', { 'aria-label': t('ACE conversation'), onkeydown: (event) => this.key(event) })
    style()
    this.listen()
    this.ready = learn().then(() => (this.composer = new Composer(this)))
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
    this.marked = node
    if (this.shown) this.draw()
  }

  /** The conversation that is shown: {node, id}, or undefined. */
  get current() {
    const all = conversations()
    return all.find(({ node }) => node === this.marked) ?? all[0]
  }

  get text() {
    const node = this.current?.node
    return node?.widgets?.find((widget) => widget.name === 'record')?.value ?? ''
  }

  get read() {
    return parse(this.text)
  }

  get record() {
    return this.read.record ?? EMPTY
  }

  /** Undo, another tab of the page, a deleted node: draw again whatever changed the record. */
  look() {
    const now = JSON.stringify([conversations().map(({ id }) => id), this.current?.id, this.text])
    if (now !== this.drawn) this.draw()
  }

  write(record, current = this.current) {
    const widget = current.node.widgets.find((each) => each.name === 'record')
    widget.value = JSON.stringify(record)
    widget.callback?.(widget.value)
    app.extensionManager.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.()
    this.draw()
  }

  // --- what the server tells -------------------------------------------------------------------------------------------

  listen() {
    const on = (name, act) => api.addEventListener(name, (event) => act(event.detail ?? {}))
    const place = (node, shown) => {
      const part = PART.exec(String(node ?? ''))
      const owner = conversations().find(({ id }) => id === String(shown ?? ''))
      return part && owner ? { owner, turn: part[1], part: part[2] } : null
    }
    on('progress_state', ({ nodes }) => {
      for (const each of Object.values(nodes ?? {})) {
        const found = place(each.node_id, each.display_node_id)
        if (found?.part === 'latent' && each.state === 'running')
          this.note(found, { state: 'running', step: each.value, steps: each.max })
      }
    })
    on('b_preview_with_metadata', ({ blob, nodeId, displayNodeId }) => {
      const found = place(nodeId, displayNodeId)
      if (!found) return
      const old = this.states.get(`${found.owner.id}/${found.turn}`)?.preview
      if (old) URL.revokeObjectURL(old)
      this.note(found, { state: 'running', preview: URL.createObjectURL(blob) })
    })
    on('executed', ({ display_node: shown, node, output }) => {
      const owner = conversations().find(({ id }) => id === String(shown ?? node))
      const found = output?.ace_answers
      if (!owner || !found?.length) return
      const record = parse(owner.node.widgets.find((widget) => widget.name === 'record').value).record
      /** @type {Record<string, object>} */
      const answers = {}
      for (const { turn, file, in: folder, key, maker } of found) {
        this.maker.set(owner.id, maker)
        this.states.delete(`${owner.id}/${turn}`)
        if (record && find(record, turn) && find(record, turn).answer?.key !== key) answers[turn] = { file, in: folder, key }
      }
      if (Object.keys(answers).length) this.write(answered(record, answers), owner)
      else this.draw()
    })
    const owner = ({ node_id: id }) => String(id ?? '').split('.')[0] // of what a conversation expanded to
    on('execution_error', (event) => this.failed(event.exception_message ?? t('failed'), owner(event)))
    on('execution_interrupted', (event) => this.failed(t('stopped'), owner(event)))
  }

  note({ owner, turn }, change) {
    const key = `${owner.id}/${turn}`
    this.states.set(key, { ...this.states.get(key), ...change })
    this.draw()
  }

  /** What waited or ran in a conversation failed, with the error's own words; it stays, and can be sent again. */
  failed(message, id) {
    for (const [key, { state }] of this.states)
      if (key.startsWith(`${id}/`) && (state === 'waiting' || state === 'running'))
        this.states.set(key, { state: 'failed', error: message.trim() })
    this.draw()
  }

  stateOf(turn) {
    return this.states.get(`${this.current?.id}/${turn.id}`) ?? { state: turn.answer ? 'done' : 'open' }
  }

  // --- what a person does ----------------------------------------------------------------------------------------------

  /** Add a turn to the record and run it. */
  async send(turn) {
    const current = this.current ?? this.add()
    if (!current) return
    this.write(added(this.record, turn), current)
    await this.run()
  }

  /** Run the node: whatever has no answer on the branch that is looked at. */
  async run() {
    const current = this.current
    for (const turn of branch(this.record))
      if (!turn.answer) this.states.set(`${current.id}/${turn.id}`, { state: 'waiting' })
    this.draw()
    await app.queuePrompt(0, 1, [current.id])
    const errors = app.lastNodeErrors?.[current.id]?.errors
    if (errors?.length) this.failed(errors.map((error) => error.details || error.message).join('\n'), current.id)
    else if (Object.keys(app.lastNodeErrors ?? {}).length) this.failed(t('ComfyUI refused the workflow.'), current.id)
  }

  /** Stop this conversation's run, or take it out of the queue; the runs of others go on. */
  async stop() {
    const { id } = this.current
    const queue = await (await api.fetchApi('/queue')).json()
    const own = ([, , graph, extra]) => graph?.[id]?.class_type === NODE && extra?.client_id === api.clientId
    if (queue.queue_running.some(own)) return api.interrupt()
    const waiting = queue.queue_pending.filter(own).map(([, prompt]) => prompt)
    if (waiting.length) await api.fetchApi('/queue', { method: 'POST', body: JSON.stringify({ delete: waiting }) })
    this.failed(t('stopped'), id)
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

  /** Draw what the model receives for the turn that is looked at: by the ACE Inspector beside the node, put there if none is. */
  async inspect() {
    const { node, id } = this.current
    const graph = node.graph
    const slot = node.outputs.findIndex((output) => output.name === 'lcu')
    const connected = (from, out, kind) => (from.outputs[out].links ?? [])
      .map((link) => graph.getNodeById(graph.getLink(link)?.target_id)).find((other) => other?.comfyClass === kind)
    let inspector = connected(node, slot, INSPECTOR)
    let preview = inspector && connected(inspector, 0, PREVIEW)
    if (!preview) {
      if (!inspector) {
        inspector = window.LiteGraph.createNode(INSPECTOR)
        inspector.pos = [node.pos[0] + node.size[0] + 60, node.pos[1]]
        graph.add(inspector)
        node.connect(slot, inspector, inspector.findInputSlot('lcu'))
        for (const name of ['clip', 'model', 'vae']) {
          const link = graph.getLink(node.inputs[node.findInputSlot(name)]?.link)
          if (link) graph.getNodeById(link.origin_id)?.connect(link.origin_slot, inspector, inspector.findInputSlot(name))
        }
      }
      preview = window.LiteGraph.createNode(PREVIEW)
      preview.pos = [inspector.pos[0] + inspector.size[0] + 60, inspector.pos[1]]
      preview.size = [640, 480]
      graph.add(preview)
      inspector.connect(0, preview, 0)
      app.extensionManager.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.()
    }
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
    this.drawn = JSON.stringify([conversations().map(({ id }) => id), this.current?.id, this.text])
    const { error } = this.read
    const record = this.record
    if (!this.top.isConnected) this.element.replaceChildren(this.top, this.body, this.composer.element)
    const head = JSON.stringify([conversations().map(({ id, node }) => [id, node.title]), this.current?.id, record.turns.length > 0])
    if (head !== this.headDrawn) this.top.replaceChildren(this.head(record))
    this.headDrawn = head
    this.composer.element.hidden = !this.current
    const body = this.body
    const scrolled = body.scrollTop
    const bottom = scrolled + body.clientHeight > body.scrollHeight - 80
    if (!this.current || error || this.query) {
      this.cards.clear()
      body.replaceChildren(!this.current ? this.welcome() : error
        ? h('p.ace-error', { role: 'alert' }, t('This record cannot be shown ({0}). The node keeps it as it is.', error))
        : h('ol.ace-turns', {}, this.found(record)))
    } else this.list(record)
    this.composer.draw(record)
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
      const seen = JSON.stringify([this.current.id, turn, this.stateOf(turn), all.indexOf(turn), all.length, files, this.maker.get(this.current.id)])
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
      all.length > 1 && h('select', { 'aria-label': t('Conversation'), onchange: (event) => this.choose(all[event.target.selectedIndex].node) },
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
    const state = this.stateOf(turn)
    const all = siblings(record, turn)
    const at = all.indexOf(turn)
    const other = turn.answer && this.maker.get(this.current.id) && !turn.answer.key.endsWith(`-${this.maker.get(this.current.id)}`)
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
    const count = turn.images?.length ?? 0
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
    const mask = turn.masks?.[number]
    return h('button.ace-thumbnail', { type: 'button', title: picture.file ?? t('answer of {0}', picture.answer_of),
      onclick: () => file && this.full(file), style: `--chip: ${colorOf(number)}` },
    file ? h('img', { src: addressOf(file), alt: picture.file ?? t('an earlier answer'), loading: 'lazy', onerror: gone }) : '…',
    mask?.file && h('img.ace-mask', { src: addressOf(mask), alt: t('its mask') }))
  }

  answer(turn, state) {
    if (state.state === 'failed')
      return [h('p.ace-error', { role: 'alert' }, state.error), h('button', { type: 'button', onclick: () => this.run() }, t('Try again'))]
    if (state.state === 'waiting' || state.state === 'running')
      return [state.preview && h('img.ace-preview', { src: state.preview, alt: t('Preview') }),
        h('p', { role: 'status' }, state.state === 'waiting' ? t('waiting') : t('step {0} of {1}', state.step ?? 0, state.steps ?? '?')),
        h('progress', { max: state.steps ?? 1, value: state.step ?? 0, 'aria-label': t('Progress') }),
        h('button', { type: 'button', onclick: () => this.stop() }, t('Stop'))]
    if (!turn.answer) return h('button', { type: 'button', onclick: () => this.run() }, t('Run'))
    return h('button.ace-picture', { type: 'button', onclick: () => this.full(turn.answer), title: t('Full size') },
      h('img', { src: addressOf(turn.answer, turn.answer.key), alt: t('Answer to: {0}', turn.instruction), draggable: true, onerror: gone }))
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
    const widget = node.widgets.find((each) => each.name === 'image')
    const value = `${answer.file} [${answer.in}]`
    if (widget.options?.values && !widget.options.values.includes(value)) widget.options.values.push(value)
    widget.value = value
    widget.callback?.(value)
    app.extensionManager.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.()
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
      if (!record) return app.extensionManager.toast.add({ severity: 'error', summary: t('This file is no record'), detail: error, life: 8000 })
      if (this.record.turns.length && !this.add()) return
      this.write(record)
    } })
    input.click()
  }
}

function gone(event) {
  event.target.replaceWith(h('span.ace-gone', {}, t('The file is gone. Run makes it again.')))
}
