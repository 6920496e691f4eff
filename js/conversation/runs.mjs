/**
 * What the server does with turns, as its events tell: progress, previews, errors, answers.
 *
 * A turn is known by "node id/turn id". Ids of turns are drawn at random, so events of one workflow find no turn of another, even
 * if both come from one template; an answer waits until its conversation is open again.
 */
import { api } from '../../../scripts/api.js'
import { answered, needed, parse } from './record.mjs'
import { t } from './words.mjs'
import { NODE, conversations, textOf, workflow } from './workflow.mjs'

const PART = /\.([A-Za-z0-9_-]{1,64}) (latent|answer|unit|lcu|tokens|indicator|image|paste|room)$/ // of an expanded graph
const PATIENCE = 2000 // milliseconds

const keyOf = (id, turn) => `${id}/${turn}`

/** The turns that an entry of the server's queue makes. An entry holds the whole workflow; the last item says what runs of it. */
function makes([, , graph, , targets]) {
  return targets.filter((id) => graph[id]?.class_type === NODE).flatMap((id) => {
    const { record } = parse(graph[id].inputs.record)
    return record ? needed(record).map((turn) => keyOf(id, turn.id)) : []
  })
}

export class Runs {
  /** draw(): after every change · write(record, conversation): answers have come. */
  constructor({ draw, write }) {
    this.draw = draw
    this.write = write
    this.states = new Map() // turn → {state: waiting, running or failed, step, steps, preview, error}
    this.sending = new Set() // runs on the way into the queue
    this.arrived = new Map() // turn → {answer, maker} whose conversation is not open
    this.makers = new Map() // conversation → the second half of the keys that today's models give
    this.settled = Promise.resolve() // one after the other: the first knows the reason
    this.listen()
  }

  listen() {
    const on = (name, act) => api.addEventListener(name, (event) => act(event.detail ?? {}))
    const place = (node, shown) => {
      const part = PART.exec(String(node ?? ''))
      return part && { key: keyOf(shown, part[1]), part: part[2] }
    }
    on('progress_state', ({ nodes }) => {
      for (const each of Object.values(nodes ?? {})) {
        const found = place(each.node_id, each.display_node_id)
        if (found?.part === 'latent' && each.state === 'running')
          this.note(found.key, { step: each.value, steps: each.max })
      }
    })
    on('b_preview_with_metadata', ({ blob, nodeId, displayNodeId }) => {
      const found = place(nodeId, displayNodeId)
      if (found) this.note(found.key, { preview: URL.createObjectURL(blob) })
    })
    on('executed', ({ display_node: shown, node, output }) => {
      if (!output?.ace_answers) return
      for (const { turn, file, in: folder, key, maker } of output.ace_answers) {
        this.put(keyOf(shown ?? node, turn), null)
        this.arrived.set(keyOf(shown ?? node, turn), { answer: { file, in: folder, key }, maker })
      }
      this.collect()
      this.draw()
    })
    on('execution_error', ({ prompt_id: prompt, exception_message: message }) => this.settle(message ?? t('failed'), prompt))
    on('execution_interrupted', ({ prompt_id: prompt }) => this.settle(t('stopped'), prompt))
    on('execution_success', ({ prompt_id: prompt }) => this.settle(t('The run ended without an answer.'), prompt))
    for (const name of ['status', 'reconnected']) on(name, () => { // runs may be lost; but events that know why come first
      clearTimeout(this.later)
      this.later = setTimeout(() => this.settle(t('The run ended without an answer.')), PATIENCE)
    })
  }

  /** Write the answers that came into the conversations of the open workflow. */
  collect() {
    for (const conversation of conversations()) {
      const { record } = parse(textOf(conversation.node))
      /** @type {Record<string, object>} */
      const answers = {}
      for (const turn of record?.turns ?? []) {
        const key = keyOf(conversation.id, turn.id)
        const found = this.arrived.get(key)
        if (!found) continue
        this.arrived.delete(key)
        this.makers.set(`${workflow()}/${conversation.id}`, found.maker)
        if (turn.answer?.key !== found.answer.key) answers[turn.id] = found.answer
      }
      if (Object.keys(answers).length) this.write(answered(record, answers), conversation)
    }
  }

  of(id, turn) {
    return this.states.get(keyOf(id, turn.id)) ?? { state: turn.answer ? 'done' : 'open' }
  }

  makerOf(id) {
    return this.makers.get(`${workflow()}/${id}`)
  }

  note(key, change) {
    this.put(key, { ...this.states.get(key), ...change, state: 'running' })
    this.draw()
  }

  /** A turn's state, or null; a preview that it had is let go. */
  put(key, state) {
    const { preview } = this.states.get(key) ?? {}
    if (preview && preview !== state?.preview) URL.revokeObjectURL(preview)
    if (state) this.states.set(key, state)
    else this.states.delete(key)
  }

  unsettled(key) {
    return ['waiting', 'running'].includes(this.states.get(key)?.state)
  }

  /** Turns of a conversation wait while `queue` sends them; what it throws or gives is why they failed. */
  async send(id, turns, queue) {
    const keys = turns.map((turn) => keyOf(id, turn.id))
    for (const key of keys) this.put(key, { state: 'waiting' })
    const sent = queue().catch((error) => error.message)
    this.sending.add(sent)
    this.draw()
    const trouble = await sent
    this.sending.delete(sent)
    if (trouble) this.fail(keys, trouble)
  }

  /** What waits or runs failed, with the error's own words; it stays, and can be sent again. */
  fail(keys, message) {
    const failed = keys.filter((key) => this.unsettled(key))
    for (const key of failed) this.put(key, { state: 'failed', error: message.trim() })
    if (failed.length) this.draw()
  }

  /** A run is over, or runs may be lost: what waits although nothing in the queue makes it has failed. ended: that run. */
  settle(message, ended = null) {
    this.settled = this.settled.then(async () => {
      while (this.sending.size) await Promise.all(this.sending) // a run may be over before the page knows that it is queued
      const waiting = [...this.states.keys()].filter((key) => this.unsettled(key))
      if (!waiting.length) return
      const { running, pending } = await this.queue()
      const coming = new Set([...running, ...pending].filter(([, prompt]) => prompt !== ended).flatMap(makes))
      this.fail(waiting.filter((key) => !coming.has(key)), message)
    }).catch(() => {}) // the server is away; when it is back this is called again
    return this.settled
  }

  /** This page's entries of the server's queue. */
  async queue() {
    const { queue_running: running, queue_pending: pending } = await (await api.fetchApi('/queue')).json()
    const own = ([, , , extra]) => extra?.client_id === api.clientId
    return { running: running.filter(own), pending: pending.filter(own) }
  }

  /** Stop a conversation's runs, or take them out of the queue; the runs of others go on. */
  async stop(id, record) {
    const { running, pending } = await this.queue()
    const keys = record.turns.map((turn) => keyOf(id, turn.id)).filter((key) => this.unsettled(key))
    const own = (entry) => makes(entry).some((key) => keys.includes(key))
    const waiting = pending.filter(own).map(([, prompt]) => prompt)
    if (waiting.length) await api.fetchApi('/queue', { method: 'POST', body: JSON.stringify({ delete: waiting }) })
    const now = running.find(own)
    if (now) await api.interrupt(now[1])
    else this.fail(keys, t('stopped'))
  }
}
