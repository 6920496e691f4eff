/** The conversation panel in the sidebar, the button that opens it, and the instruction editor on nodes: each loads when used. */
import { app } from '../../scripts/app.js'

const NODE = 'ACEEditorConversation'
const UNIT = 'ACEEditorConditionUnit'
const TAB = 'ace-conversation'
const EDITOR = 'ACEEditor.InstructionEditor'

let panel

async function load() {
  panel ??= import('./conversation/panel.mjs').then(({ Panel }) => new Panel())
  return panel
}

/** Show a node's conversation; where it is shown, close the panel: App mode has no other button for that. */
async function toggle(node) {
  const open = app.extensionManager.sidebarTab?.activeSidebarTabId === TAB
  const panel = await load()
  const same = panel.current?.node === node
  panel.choose(node)
  if (!open || same) app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${TAB}`)
}

/** Whether the workflow has an instruction at all: on pages of others this stays away. */
const hasInstructions = () => [app.rootGraph, ...(app.rootGraph?.subgraphs?.values() ?? [])]
  .some((graph) => graph?.nodes.some((node) => node.comfyClass === UNIT))

/** A text area got the focus: where it holds an instruction, the editor opens over it, once the mouse is up. */
function focused(event) {
  const area = event.target
  if (!(area instanceof HTMLTextAreaElement) || !hasInstructions() || !app.extensionManager.setting.get(EDITOR)) return
  const edit = () => import('./conversation/over_node.mjs').then((editor) => editor.edit(area))
  if (pressed) addEventListener('pointerup', () => setTimeout(edit), { once: true, capture: true })
  else edit()
}

let pressed = false

app.registerExtension({
  name: 'ACEEditor.Conversation',
  settings: [{
    id: EDITOR, category: ['ACE Editor', 'Instructions', 'Editor'], name: 'Instruction editor on nodes', type: 'boolean',
    defaultValue: true, tooltip: 'Clicking an instruction opens an editor that knows the connected pictures.'
  }],
  setup() {
    addEventListener('pointerdown', () => (pressed = true), { capture: true })
    for (const name of ['pointerup', 'pointercancel']) addEventListener(name, () => (pressed = false), { capture: true })
    document.addEventListener('focusin', focused)
    app.extensionManager.registerSidebarTab({
      id: TAB,
      icon: 'pi pi-comments',
      title: 'ACE',
      tooltip: 'ACE: talk to your pictures',
      type: 'custom',
      render: async (element) => (await load()).show(element),
      destroy: async () => (await load()).hide()
    })
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return
    const record = node.widgets.find((widget) => widget.name === 'record')
    record.hidden = true // JSON is for programs
    record.options.hidden = true
    const button = node.addWidget('button', 'open', null, () => toggle(node))
    button.label = 'Open conversation'
    import('./conversation/words.mjs').then(async ({ learn, t }) => {
      await learn()
      button.label = t('Open conversation')
    })
    button.serialize = false
    button.options.serialize = false
  }
})
