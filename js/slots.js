// Keeps growing inputs in order when a workflow is opened. ComfyUI's page puts a slot behind the last one whose name
// begins with its predecessor's, and "image" begins "image1", "image2", …: slots end up as image, image2, image1.
import { app } from '/scripts/app.js'

const rank = (slot, definition, growing) => {
    const [base, name] = slot.name.split('.')
    return [slot.widget ? 1 : 0, definition.indexOf(base), name ? growing[base]?.names?.indexOf(name) ?? 0 : 0]
}

const compare = (a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]

function sortSlots(node, definition) {
    const growing = node.comfyDynamic?.autogrow
    if (!growing || !node.inputs) return
    node.inputs.sort((a, b) => compare(rank(a, definition, growing), rank(b, definition, growing)))
    node.inputs.forEach((slot, number) => {
        const link = slot.link != null && node.graph?.links?.get(slot.link)
        if (link) link.target_slot = number
    })
}

app.registerExtension({
    name: 'ACEEditor.Slots',
    beforeRegisterNodeDef(nodeType, nodeData) {
        const inputs = { ...nodeData.input?.required, ...nodeData.input?.optional }
        const grows = Object.values(inputs).some(([type]) => type === 'COMFY_AUTOGROW_V3')
        if (!nodeData.name.startsWith('ACEEditor') || !grows) return
        const configured = nodeType.prototype.onConfigure
        nodeType.prototype.onConfigure = function (saved) {
            configured?.call(this, saved)
            sortSlots(this, Object.keys(inputs))
        }
    },
})
