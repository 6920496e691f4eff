/** The open workflow: its conversation nodes, and their records. */
import { app } from '../../../scripts/app.js'
import { parse } from './record.mjs'

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
