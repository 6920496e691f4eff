/** The conversation panel in the sidebar, and the button on ACE Conversation that opens it. All else loads when it is opened. */
import { app } from '../../scripts/app.js'

const NODE = 'ACEEditorConversation'
const TAB = 'ace-conversation'

let panel

async function load() {
  panel ??= import('./conversation/panel.mjs').then(({ Panel }) => new Panel())
  return panel
}

function open() {
  if (app.extensionManager.sidebarTab?.activeSidebarTabId !== TAB)
    app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${TAB}`)
}

app.registerExtension({
  name: 'ACEEditor.Conversation',
  setup() {
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
    const button = node.addWidget('button', 'open', null, () => load().then((panel) => panel.choose(node)).then(open))
    button.label = 'Open conversation'
    button.serialize = false
    button.options.serialize = false
  }
})
