// Shows the chosen example picture on its node before anything has run.
import { app } from '/scripts/app.js'

const folder = new URL('./pictures/', import.meta.url)
const wanted = new WeakMap() // node → the picture it should show

function show(node, name) {
    if (!name) return
    const picture = new Image()
    wanted.set(node, picture)
    picture.onload = () => {
        if (wanted.get(node) !== picture) return // another was chosen while this one was loading
        node.imgs = [picture]
        node.setDirtyCanvas(true, true)
    }
    picture.src = new URL(encodeURIComponent(name), folder).href
}

app.registerExtension({
    name: 'ACEEditor.ExampleImage',
    nodeCreated(node) {
        if (node.comfyClass !== 'ACEEditorExampleImage') return
        const widget = node.widgets.find((w) => w.name === 'picture')
        const chosen = widget.callback
        widget.callback = function (value, ...rest) {
            show(node, value)
            return chosen?.call(this, value, ...rest)
        }
        const configured = node.onConfigure
        node.onConfigure = function (...saved) {
            configured?.apply(this, saved)
            show(node, widget.value)
        }
        show(node, widget.value)
    },
})
