/**
 * Which pictures an instruction in the graph can name: those that reach its condition unit, and those of the turns before.
 *
 * A place is {path, node}: a node, and the boxes (subgraphs) around it, outermost first. Paths begin at the graph that is open.
 */
import { app } from '../../../scripts/app.js'
import { addressOf } from './files.mjs'
import { MAX_IMAGES } from './record.mjs'

const UNIT = 'ACEEditorConditionUnit'
const LCU = 'ACEEditorLongContextUnit'
const PACK = 'ACEEditorPackConversation'
const UNPACK = 'ACEEditorUnpackConversation'
const INSTRUCTION = 'instruction'
const OUTSIDE = -10 // litegraph's id of a box's own inputs, seen from inside; …
const LEAVING = -20 // … and of its outputs
const FAR = 60 // nodes

/** The open graph, or that of the innermost box. */
const graphOf = (path) => path.at(-1)?.subgraph ?? app.canvas.graph
const within = (graph, id) => graph.getLink?.(id) ?? graph.links.get?.(id)

/** {node, name}: the widget that a text area on the page edits, in either way of drawing nodes; or null. */
export function ownerOf(area) {
  for (const node of app.canvas.graph?.nodes ?? [])
    for (const widget of node.widgets ?? []) if (widget.element === area) return { node, name: widget.name }
  const shown = app.canvas.graph === app.rootGraph ? area.closest('[node-id]') : null // App mode has widgets without their nodes
  const id = area.closest('[data-node-id]')?.dataset.nodeId ?? shown?.getAttribute('node-id')
  const node = id && app.canvas.graph.getNodeById(id)
  const label = area.id && document.querySelector(`label[for="${CSS.escape(area.id)}"]`)?.textContent
  const name = label || area.closest('[data-widget-key]')?.dataset.widgetKey.split(':').at(-1) || area.closest('[data-widget-name]')?.dataset.widgetName
  const widget = node?.widgets?.find((each) => (each.label ?? each.name) === name || each.name === name)
  return widget ? { node, name: widget.name } : null
}

/** The condition unit whose instruction a node's widget is, itself or through a box; or null. */
export function unitOf(node, name, path = []) {
  if (node.comfyClass === UNIT) return name === INSTRUCTION ? { path, node } : null
  const slot = node.subgraph?.inputs.find((each) => each.name === name || each.label === name)
  for (const id of slot?.linkIds ?? []) {
    const link = within(node.subgraph, id)
    const inner = link && node.subgraph.getNodeById(link.target_id)
    const input = inner?.inputs[link.target_slot]
    const found = input?.widget && unitOf(inner, input.widget.name, [...path, node])
    if (found) return found
  }
  return null
}

/**
 * What feeds an input: {path, node, boxes}, boxes: those that the wire comes out of; {node: null} if that is outside what is open;
 * null if nothing is connected.
 */
export function origin({ path, node }, input, boxes = []) {
  const slot = node.inputs?.find((each) => each.name === input)
  const link = slot?.link != null && within(graphOf(path), slot.link)
  if (!link) return null
  return from(path, link, boxes)
}

function from(path, link, boxes) {
  if (Number(link.origin_id) === OUTSIDE) {
    const box = path.at(-1)
    if (!box) return { path, node: null, boxes }
    return origin({ path: path.slice(0, -1), node: box }, box.subgraph.inputs[link.origin_slot]?.name, boxes)
  }
  const node = graphOf(path).getNodeById(link.origin_id)
  if (!node?.subgraph) return node ? { path, node, boxes } : null
  const inner = within(node.subgraph, node.subgraph.outputs[link.origin_slot]?.linkIds[0])
  return inner ? from([...path, node], inner, [...boxes, { path, node }]) : null
}

/** The nodes that an output feeds, also outside of its box. */
function fed({ path, node }, slot = 0) {
  const graph = graphOf(path)
  return (node.outputs?.[slot]?.links ?? []).flatMap((id) => {
    const link = within(graph, id)
    if (!link) return []
    if (Number(link.target_id) === LEAVING) return path.length ? fed({ path: path.slice(0, -1), node: path.at(-1) }, link.target_slot) : []
    return { path, node: graph.getNodeById(link.target_id) }
  })
}

/** A picture that the page has of what comes from a place: a loader's, a preview's, or one further up; or undefined. */
function address(place, left = FAR) {
  if (!place?.node || !left) return undefined
  const { node } = place
  const file = node.widgets?.find((widget) => widget.name === 'image' && typeof widget.value === 'string')?.value
  if (file && /^LoadImage/.test(node.comfyClass)) {
    const [, name, folder] = /^(.*?)(?: \[(\w+)\])?$/.exec(file)
    return addressOf({ file: name, in: folder ?? 'input' })
  }
  for (const box of place.boxes ?? [])
    for (const [slot, output] of box.node.outputs.entries())
      if (output.type === 'IMAGE') for (const shown of fed(box, slot)) if (preview(shown.node)) return preview(shown.node)
  if (preview(node)) return preview(node)
  const input = node.inputs?.find((each) => each.type === 'IMAGE' || node.comfyClass === UNPACK)
  return input ? address(origin(place, input.name), left - 1) : undefined
}

function preview(node) {
  if (node?.imgs?.length) return node.imgs[0].src
  const shown = node && app.nodeOutputs?.[node.id]?.images?.[0]
  return shown && addressOf({ file: [shown.subfolder, shown.filename].filter(Boolean).join('/'), in: shown.type })
}

/** What a person would call where a picture comes from: the box of the turn before, or the loader. */
function title(place) {
  const sender = place.node?.comfyClass === UNPACK ? origin(place, 'conversation') : place
  return sender?.boxes[0]?.node.title ?? sender?.node?.title ?? ''
}

/** The place of the long-context unit that a wire with a history, or with a packed conversation, comes from; or null. */
function historyOf(place, left = FAR) {
  if (!place?.node || !left) return null
  if (place.node.comfyClass === LCU) return place
  const through = { [PACK]: 'lcu', [UNPACK]: 'conversation' }[place.node.comfyClass]
  return through ? historyOf(origin(place, through), left - 1) : null
}

/**
 * Pictures that the instruction of a unit may name: {pictures, further}.
 *
 * pictures: [{back, number, address, label}] · further: how many turns back begins what the page cannot know (Infinity: nowhere).
 */
export function picturesOf(unit) {
  const pictures = []
  let further = Number.POSITIVE_INFINITY
  let here = unit
  for (let back = 0; here && back < FAR; back++) {
    for (let number = 0; number < MAX_IMAGES; number++) {
      const place = origin(here, `image${number || ''}`)
      if (place) pictures.push({ back, number, address: address(place), label: title(place) })
    }
    const turn = fed(here).find(({ node }) => node?.comfyClass === LCU)
    const before = turn && origin(turn, 'history')
    const earlier = historyOf(before)
    if (before && !earlier) further = back + 1
    here = earlier && origin(earlier, 'unit')
  }
  return { pictures, further }
}
