/** The open workflow: its conversation nodes, and their records. */
import { app } from '../../../scripts/app.js'
import { addressOf, upload } from './files.mjs'
import { parse } from './record.mjs'
import { t } from './words.mjs'

export const NODE = 'ACEEditorConversation'

/** The workflow's outermost graph, whichever subgraph is open. */
export const root = () => app.graph?.rootGraph ?? app.graph

/** Every conversation node of the workflow, with the id that the server knows it by. */
export function conversations(graph = root(), prefix = '') {
  return (graph?.nodes ?? []).flatMap((node) => {
    if (node.comfyClass === NODE) return [{ node, id: `${prefix}${node.id}` }]
    return node.subgraph ? conversations(node.subgraph, `${prefix}${node.id}:`) : []
  })
}

const numbers = new WeakMap() // undo history of a workflow → its number
let opened = 0

/**
 * A name for the open workflow while the page lives. Nodes will not do, for undo makes new ones; nor ids, for workflows from one
 * template share them; nor the path, for saving changes it.
 */
export function workflow() {
  const history = app.extensionManager.workflow?.activeWorkflow?.changeTracker
  if (history && !numbers.has(history)) numbers.set(history, ++opened)
  return `${history ? numbers.get(history) : 0}/${root()?.id}`
}

const widgetOf = (node) => node?.widgets?.find((widget) => widget.name === 'record')

export const textOf = (node) => widgetOf(node)?.value ?? ''

/** Put a record into a node. One that cannot be read stays: it may be of a newer version. Gives whether it was written. */
export function write(node, record) {
  if (!parse(textOf(node)).record) return false
  const widget = widgetOf(node)
  widget.value = JSON.stringify(record)
  widget.callback?.(widget.value)
  capture()
  return true
}

/** Tell the page that the graph has changed, for undo and for its draft. */
export function capture() {
  app.extensionManager.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.()
}

export function setWidget(node, name, value) {
  const widget = node.widgets?.find((each) => each.name === name)
  if (!widget) return
  widget.value = value
  widget.callback?.(value)
}

/** Whether a picture is connected to a conversation: a first turn without pictures calls it {image}. */
export const hasPicture = (node) => node?.inputs?.some((input) => input.name === 'image' && input.link != null) ?? false

/**
 * Where a new node of a size covers no other: at a place, or below what stands there.
 * @param {any} graph
 * @param {number[]} place
 * @param {number[]} size
 */
export function freePlace(graph, [x, y], [width, height]) {
  const covers = ({ pos, size }) => pos[0] < x + width && x < pos[0] + size[0] && pos[1] - TITLE < y + height && y - TITLE < pos[1] + size[1]
  for (let node = graph.nodes.find(covers); node; node = graph.nodes.find(covers)) y = node.pos[1] + node.size[1] + 2 * TITLE
  return [x, y]
}

const TITLE = 30 // pixels above a node's pos
const PREVIEW = 300 // pixels by which a node grows when it shows a picture

export const roomy = (node) => [node.size[0], node.size[1] + PREVIEW]

/** An answer into the selected Load Image, else into a new one where one sees it: right of `edge`, in pixels of the page. */
export async function toLoadImage(answer, edge) {
  const { toast } = app.extensionManager
  try {
    const file = await fetch(addressOf(answer))
    if (!file.ok) throw new Error(t('The file is gone.'))
    const { file: name } = await upload(await file.blob(), answer.file.split('/').pop()) // Load Image lists the input folder
    const selected = Object.values(app.canvas.selected_nodes ?? {}).find((node) => node.comfyClass === 'LoadImage')
    const node = selected ?? window.LiteGraph.createNode('LoadImage')
    if (!selected) {
      const { scale, offset } = app.canvas.ds
      const { left } = app.canvas.canvas.getBoundingClientRect()
      node.pos = freePlace(app.canvas.graph, [(Math.max(edge, left) - left + 40) / scale - offset[0], 120 / scale - offset[1]], roomy(node))
      app.canvas.graph.add(node)
    }
    const { values } = node.widgets.find((each) => each.name === 'image').options ?? {}
    if (Array.isArray(values) && !values.includes(name)) values.push(name)
    setWidget(node, 'image', name)
    capture()
    toast.add({ severity: 'success', summary: t('The answer is in Load Image.'), life: 3000 })
  } catch (error) {
    toast.add({ severity: 'error', summary: t('Send to Load Image'), detail: error.message, life: 8000 })
  }
}
