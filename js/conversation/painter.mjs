/** Paint a mask on a picture, or drag its borders to make room for outpainting. */
import { dialog, h } from './dom.mjs'
import { load } from './files.mjs'
import { t } from './words.mjs'

const MOST_ROOM = 4 // times the picture's side, as ACE Pad for Outpainting has it
const VIEW = 640 // pixels of the longer side on the page
const DETAIL = 2048 // pixels of the mask's longer side while it is painted

/**
 * address: of the picture · mask: address of a mask that is there, or null · room: [left, top, right, bottom].
 * done({mask: Blob or null, room, changed}) after Done; if it throws, the painter stays open and says why.
 */
export async function paint({ address, mask = null, room = [0, 0, 0, 0], allowRoom = true, done }) {
  const picture = await load(address)
  const painter = new Painter(picture, [...room], allowRoom, done)
  if (mask) await painter.take(mask)
  painter.open()
  return painter
}

class Painter {
  constructor(picture, room, allowRoom, done) {
    this.picture = picture
    this.room = room
    this.done = done
    const detail = Math.min(1, DETAIL / Math.max(picture.naturalWidth, picture.naturalHeight))
    this.width = Math.max(1, Math.round(picture.naturalWidth * detail))
    this.height = Math.max(1, Math.round(picture.naturalHeight * detail))
    this.size = Math.max(8, Math.round(Math.max(this.width, this.height) / 16))
    this.mask = new OffscreenCanvas(this.width, this.height) // white where to edit, else clear
    this.pen = this.mask.getContext('2d', { willReadFrequently: true })
    this.erasing = false
    this.changed = false
    this.past = []
    this.allowRoom = allowRoom
    this.hint = h('p.ace-hint')
  }

  open() {
    this.canvas = h('canvas.ace-paint', {
      tabIndex: 0, 'aria-label': t('Paint where to edit'), onpointerdown: (e) => this.down(e), onpointermove: (e) => this.move(e),
      onpointerup: () => (this.last = this.border = null), onpointerleave: () => this.draw()
    })
    this.view = this.canvas.getContext('2d')
    const tool = (label, erasing) => h('button', { type: 'button', 'aria-pressed': String(this.erasing === erasing), onclick: () => {
      this.erasing = erasing
      for (const button of this.tools) button.ariaPressed = String(button.dataset.erasing === String(erasing))
    }, dataset: { erasing: String(erasing) } }, label)
    this.tools = [tool(t('Brush'), false), tool(t('Eraser'), true)]
    const size = h('input', { type: 'range', min: 2, max: Math.max(64, Math.round(this.width / 3)), value: this.size,
      'aria-label': t('Size'), oninput: () => (this.size = Number(size.value)) })
    const act = (label, change) => h('button', { type: 'button', onclick: () => this.apply(change) }, label)
    this.wrong = h('p.ace-error', { role: 'alert' })
    this.ready = h('button.primary', { type: 'button', onclick: () => this.finish() }, t('Done'))
    this.brushes = [...this.tools, size, act(t('Invert'), () => this.invert()), act(t('Clear'), () => this.clear())]
    this.dialog = dialog(t('Paint a mask'), [
      h('div.ace-tools', {}, this.tools, h('label', {}, t('Size'), ' ', size), this.brushes.slice(3),
        h('button', { type: 'button', onclick: () => this.undo() }, t('Undo'))),
      h('div.ace-board', {}, this.canvas),
      this.wrong,
      this.hint,
      h('div.ace-buttons', {},
        h('button', { type: 'button', onclick: () => this.dialog.close() }, t('Cancel')),
        this.ready)
    ])
    this.draw()
    this.canvas.focus()
  }

  async take(address) {
    this.pen.drawImage(await load(address), 0, 0, this.width, this.height)
    const pixels = this.pen.getImageData(0, 0, this.width, this.height)
    for (let i = 0; i < pixels.data.length; i += 4) {
      pixels.data[i + 3] = pixels.data[i] > 127 ? 255 : 0
      pixels.data.fill(255, i, i + 3)
    }
    this.pen.putImageData(pixels, 0, 0)
  }

  /** Pixels of the page per pixel of the picture, and where the picture's corner lies. */
  get frame() {
    const [left, top, right, bottom] = this.room
    const wide = this.width * (1 + left + right)
    const tall = this.height * (1 + top + bottom)
    const scale = Math.min(VIEW / Math.max(wide, tall), 4)
    return { scale, wide: wide * scale, tall: tall * scale, x: left * this.width * scale, y: top * this.height * scale }
  }

  draw(cursor = null) {
    const { scale, wide, tall, x, y } = this.frame
    const margin = 16
    const room = this.room.some(Boolean) // then the room is the mask
    for (const brush of this.brushes) brush.disabled = room
    this.hint.textContent = room ? t('The model paints the gray room. Push the border back to paint a mask instead.')
      : this.allowRoom ? t('Drag a border of the picture outwards to make room for outpainting.') : ''
    if (this.canvas.width !== Math.round(wide + 2 * margin) || this.canvas.height !== Math.round(tall + 2 * margin)) {
      this.canvas.width = Math.round(wide + 2 * margin)
      this.canvas.height = Math.round(tall + 2 * margin)
    }
    const view = this.view
    view.setTransform(1, 0, 0, 1, 0, 0)
    view.clearRect(0, 0, this.canvas.width, this.canvas.height)
    view.translate(margin, margin)
    view.fillStyle = '#8888'
    view.fillRect(0, 0, wide, tall)
    view.drawImage(this.picture, x, y, this.width * scale, this.height * scale)
    view.globalAlpha = 0.55
    view.drawImage(this.mask, x, y, this.width * scale, this.height * scale)
    view.globalAlpha = 1
    view.strokeStyle = '#4f9cf9'
    view.lineWidth = 2
    view.strokeRect(0, 0, wide, tall)
    if (cursor && !room) {
      view.beginPath()
      view.arc(cursor.x * scale + x, cursor.y * scale + y, (this.size / 2) * scale, 0, 2 * Math.PI)
      view.strokeStyle = '#fff'
      view.stroke()
    }
  }

  /** Where an event is: pixels of the picture, and the border that it touches, if any. */
  at(event) {
    const box = this.canvas.getBoundingClientRect()
    const { scale, wide, tall, x, y } = this.frame
    const px = ((event.clientX - box.left) * this.canvas.width) / box.width - 16
    const py = ((event.clientY - box.top) * this.canvas.height) / box.height - 16
    const near = [Math.abs(px), Math.abs(py), Math.abs(px - wide), Math.abs(py - tall)]
    const side = near.indexOf(Math.min(...near))
    const room = this.room.some(Boolean)
    const border = this.allowRoom && near[side] < 10 && (room || !this.inside(px, py, wide, tall)) ? side : null
    return { x: (px - x) / scale, y: (py - y) / scale, px, py, border }
  }

  inside(px, py, wide, tall) {
    return px > 4 && py > 4 && px < wide - 4 && py < tall - 4
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId)
    const place = this.at(event)
    this.remember()
    if (place.border !== null) {
      this.border = { side: place.border, x: event.clientX, y: event.clientY, room: this.room[place.border], scale: this.frame.scale }
    } else if (!this.room.some(Boolean)) {
      this.last = place
      this.stroke(place)
    }
  }

  move(event) {
    const place = this.at(event)
    this.canvas.style.cursor = place.border === null ? (this.room.some(Boolean) ? 'default' : 'crosshair') : place.border % 2 ? 'ns-resize' : 'ew-resize'
    if (this.border) {
      const { side, x, y, room, scale } = this.border
      const moved = [x - event.clientX, y - event.clientY, event.clientX - x, event.clientY - y][side]
      const whole = (side % 2 ? this.height : this.width) * scale
      this.room[side] = Math.round(20 * Math.min(MOST_ROOM, Math.max(0, room + moved / whole))) / 20
      this.changed = true
      if (this.room.some(Boolean)) this.clear()
    } else if (this.last) this.stroke(place)
    this.draw(place)
  }

  stroke(place) {
    this.pen.globalCompositeOperation = this.erasing ? 'destination-out' : 'source-over'
    this.pen.strokeStyle = '#fff'
    this.pen.lineCap = 'round'
    this.pen.lineWidth = this.size
    this.pen.beginPath()
    this.pen.moveTo(this.last.x, this.last.y)
    this.pen.lineTo(place.x + 0.01, place.y)
    this.pen.stroke()
    this.last = place
    this.changed = true
    this.draw(place)
  }

  apply(change) {
    this.remember()
    change()
    this.changed = true
    this.draw()
  }

  clear() {
    this.pen.clearRect(0, 0, this.width, this.height)
  }

  invert() {
    this.pen.globalCompositeOperation = 'xor'
    this.pen.fillStyle = '#fff'
    this.pen.fillRect(0, 0, this.width, this.height)
  }

  remember() {
    this.past.push([this.pen.getImageData(0, 0, this.width, this.height), [...this.room]])
    if (this.past.length > 8) this.past.shift()
  }

  undo() {
    const before = this.past.pop()
    if (!before) return
    this.pen.putImageData(before[0], 0, 0)
    this.room = before[1]
    this.draw()
  }

  async finish() {
    const { mask, empty } = this.picked()
    this.ready.disabled = true
    try {
      const blob = empty ? null : await mask.convertToBlob({ type: 'image/png' })
      await this.done({ mask: blob, room: this.room, changed: this.changed })
      this.dialog.close()
    } catch (error) {
      this.wrong.textContent = error.message
      this.ready.disabled = false
    }
  }

  /** The mask as black and white, and whether nothing of it is white. */
  picked() {
    const pixels = this.pen.getImageData(0, 0, this.width, this.height)
    let empty = true
    for (let i = 0; i < pixels.data.length; i += 4) {
      const white = pixels.data[i + 3] > 127
      empty &&= !white
      pixels.data.fill(white ? 255 : 0, i, i + 3)
      pixels.data[i + 3] = 255
    }
    this.pen.putImageData(pixels, 0, 0)
    const mask = new OffscreenCanvas(this.picture.naturalWidth, this.picture.naturalHeight) // as large as the picture
    const pen = mask.getContext('2d')
    pen.imageSmoothingEnabled = false
    pen.drawImage(this.mask, 0, 0, mask.width, mask.height)
    return { mask, empty }
  }
}
