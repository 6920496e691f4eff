/** What the model receives for a turn: the ACE Inspector and a preview beside a conversation node, put there if none are. */
import { capture, freePlace, setWidget } from './workflow.mjs'

const INSPECTOR = 'ACEEditorInspector'
const PREVIEW = 'PreviewImage'
const OWN = { width: 0, height: 0, target_image: 0, token_budget: 0, steps: 0, guidance: 4.5, rescale: 0.5 } // a turn's fallbacks

/** The preview of a conversation node's inspector. */
export function previewOf(node) {
  const slot = node.outputs.findIndex((output) => output.name === 'lcu')
  const inspector = fed(node, slot, INSPECTOR) ?? putInspector(node, slot)
  return fed(inspector, 0, PREVIEW) ?? putPreview(inspector)
}

/** Let the inspector before a preview look at a turn with that turn's settings. */
export function lookAtTurn(preview, turn) {
  const { graph } = preview
  const inspector = graph.getNodeById(graph.getLink(preview.inputs[0].link).origin_id)
  for (const [name, fallback] of Object.entries(OWN)) setWidget(inspector, name, turn.settings?.[name] ?? fallback)
  setWidget(inspector, 'sampler', turn.settings?.sampler === 'lcm' ? 'lcm' : 'euler') // it has these two
  setWidget(inspector, 'negative_instruction', turn.settings?.negative ?? '')
  setWidget(inspector, 'seed', turn.seed ?? 0)
  setWidget(inspector, 'control_after_generate', 'fixed') // or the page would draw another seed after the run
  capture()
}

/** The node of a kind that an output feeds, or undefined. */
const fed = (node, slot, kind) => (node.outputs[slot].links ?? [])
  .map((link) => node.graph.getNodeById(node.graph.getLink(link)?.target_id)).find((other) => other?.comfyClass === kind)

function put(kind, beside, size = null) {
  const node = window.LiteGraph.createNode(kind)
  if (size) node.size = size
  node.pos = freePlace(beside.graph, [beside.pos[0] + beside.size[0] + 60, beside.pos[1]], node.size)
  beside.graph.add(node)
  return node
}

function putInspector(node, slot) {
  const inspector = put(INSPECTOR, node)
  node.connect(slot, inspector, inspector.findInputSlot('lcu'))
  for (const name of ['clip', 'model', 'vae']) {
    const link = node.graph.getLink(node.inputs[node.findInputSlot(name)]?.link)
    if (link) node.graph.getNodeById(link.origin_id)?.connect(link.origin_slot, inspector, inspector.findInputSlot(name))
  }
  return inspector
}

function putPreview(inspector) {
  const preview = put(PREVIEW, inspector, [960, 400]) // cards stand side by side
  inspector.connect(0, preview, 0)
  return preview
}
