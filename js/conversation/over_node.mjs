/**
 * The instruction editor on nodes: it opens over the text area that ComfyUI draws, and writes into it.
 *
 * So the widget stays ComfyUI's own: on the canvas, in Nodes 2.0, on boxes, in saved workflows and in undo.
 */
import { app } from '../../../scripts/app.js'
import { h } from './dom.mjs'
import { ownerOf, picturesOf, unitOf } from './graph.mjs'
import { InstructionEditor } from './instruction.mjs'
import { phrasingsMenu } from './phrasings.mjs'
import { style } from './style.mjs'
import { learn, t } from './words.mjs'

const LEAST = 340 // pixels wide

let closeOpen = () => {}

/** Open over a text area if it holds the instruction of a condition unit. */
export async function edit(area) {
  const owner = ownerOf(area)
  const unit = owner && unitOf(owner.node, owner.name)
  if (!unit || area.readOnly) return
  style()
  await learn()
  if (document.activeElement === area) show(area, unit)
}

function show(area, unit) {
  closeOpen()
  const { selectionStart: from, selectionEnd: to } = area
  const editor = new InstructionEditor({
    pictures: () => picturesOf(unit).pictures, trusted: (back) => back >= picturesOf(unit).further, label: t('Instruction'),
    placeholder: area.placeholder, onescape: () => close(),
    onchange: (text) => {
      area.value = text
      area.dispatchEvent(new Event('input', { bubbles: true }))
    }
  })
  const element = h('div.ace-over', {
    onfocusout: (event) => element.contains(event.relatedTarget) || setTimeout(() => element.contains(document.activeElement) || close())
  }, editor.element, h('div.ace-buttons', {}, phrasingsMenu((text) => editor.fill(text))))

  function close() {
    if (!element.isConnected) return
    closeOpen = () => {}
    element.remove()
    area.dispatchEvent(new Event('change', { bubbles: true }))
    app.extensionManager.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.()
  }

  /** Follow the node, and what others write into it. */
  function follow() {
    if (!element.isConnected) return
    const box = area.getBoundingClientRect()
    if (!area.isConnected || !box.width) return close()
    const width = Math.max(box.width, LEAST)
    element.style.left = `${Math.max(4, Math.min(box.left, innerWidth - width - 4))}px`
    element.style.top = `${Math.max(4, Math.min(box.top, innerHeight - element.offsetHeight - 4))}px`
    element.style.width = `${width}px`
    editor.box.style.minHeight = `${Math.min(box.height, 160)}px`
    if (area.value !== editor.value) editor.set(area.value)
    requestAnimationFrame(follow)
  }

  editor.set(area.value)
  document.body.append(element)
  closeOpen = close
  follow()
  editor.box.focus()
  editor.place(from, to)
}
