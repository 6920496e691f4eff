/**
 * The instruction editor: plain text in which {image}, {image1}, … are chips with the picture's thumbnail.
 *
 * Typing `{` or `@` lists the pictures. A name without a picture, a misspelt name and a picture that no text names are marked.
 * The value is the plain text.
 */
import { h } from './dom.mjs'
import { nameOf, pieces } from './names.mjs'
import { t } from './words.mjs'

const COLORS = ['#4f9cf9', '#f59e0b', '#22c55e', '#ec4899', '#a78bfa', '#14b8a6', '#ef4444', '#eab308', '#94a3b8']
const HISTORY = 100

export const colorOf = (number) => COLORS[number % COLORS.length]

export class InstructionEditor {
  /**
   * @param {{pictures: () => any[], trusted?: (back: number) => boolean, onchange?: (text: string) => void, onsend?: (() => void) | null,
   *   onescape?: (() => void) | null, label: string,
   *   placeholder?: string}} options pictures: [{back, number, address, label}], those of the turn first · trusted:
   *   whether names from so many turns back are right though nobody knows their pictures
   */
  constructor({ pictures, trusted = () => false, onchange = () => {}, onsend = null, onescape = null, label, placeholder = '' }) {
    this.pictures = pictures
    this.trusted = trusted
    this.onchange = onchange
    this.onsend = onsend
    this.onescape = onescape
    this.past = []
    this.future = []
    this.value = ''
    this.box = h('div.ace-instruction', {
      contentEditable: 'true', role: 'textbox', 'aria-multiline': 'true', 'aria-label': label, spellcheck: true,
      tabIndex: 0, dataset: { placeholder },
      onbeforeinput: (event) => this.before(event), oninput: (event) => event.isComposing || this.read(),
      oncompositionend: () => this.read(), onkeydown: (event) => this.key(event),
      onblur: () => setTimeout(() => this.close(), 150),
      onpaste: (event) => this.paste(event), oncopy: (event) => this.copy(event), oncut: (event) => this.copy(event, true)
    })
    Object.assign(this.box, { type: 'textarea' }) // by which ComfyUI knows elements that have an undo of their own
    this.list = h('ul.ace-names', { role: 'listbox', hidden: true, 'aria-label': t('Pictures') })
    this.marks = h('div.ace-marks', { role: 'status' })
    this.element = h('div.ace-editor', {}, this.box, this.list, this.marks)
  }

  set(text) {
    this.value = text
    this.past = []
    this.future = []
    this.draw()
  }

  focus() {
    this.box.focus()
    this.place(this.value.length)
  }

  /** Draw chips anew, for instance when a picture came or went. */
  draw(caret = null) {
    const pictures = this.pictures()
    const find = (back, number) => pictures.find((picture) => picture.back === back && picture.number === number)
    const drawn = pieces(this.value, (back, number) => Boolean(find(back, number)) || this.trusted(back))
    this.box.replaceChildren(...drawn.map((piece) =>
      piece.kind === 'words' ? document.createTextNode(piece.text) : this.chip(piece, find(piece.back, piece.number))))
    if (/\n$|^$/.test(this.value) || drawn.at(-1)?.kind !== 'words') this.box.append(document.createTextNode('\u200b'))
    this.box.classList.toggle('empty', !this.value)
    if (caret !== null) this.place(caret)
    this.mark(drawn, pictures)
  }

  chip(piece, picture) {
    const state = { name: t('the picture {0}', piece.text), missing: t('{0} names no picture', piece.text),
      misspelt: t('{0} is misspelt', piece.text) }[piece.kind]
    return h(`span.ace-chip.${piece.kind}`, {
      contentEditable: 'false', dataset: { text: piece.text }, title: picture?.label ?? state, 'aria-label': state, role: 'img',
      style: `--chip: ${piece.kind === 'name' ? colorOf(piece.number) : 'var(--ace-wrong)'}`
    }, picture?.address ? h('img', { src: picture.address, alt: '' }) : null, piece.text.slice(1, -1))
  }

  /** What is wrong before the run, with a fix to click. */
  mark(drawn, pictures) {
    const own = pictures.filter((picture) => picture.back === 0)
    const named = new Set(drawn.filter((piece) => piece.kind === 'name' && !piece.back).map((piece) => piece.number))
    const fix = (text, label, act) => h('div.ace-mark', {}, text, ' ', act && h('button.ace-link', {
      type: 'button', onclick: () => {
        act()
        this.focus()
      }
    }, label))
    const replace = (piece, name) => () => this.change(this.value.replace(piece.text, () => name))
    const out = drawn.filter((piece) => piece.kind === 'missing' || piece.kind === 'misspelt').map((piece) => {
      const best = own.find((picture) => picture.number === piece.number) ?? own.at(-1)
      const text = piece.kind === 'missing' ? t('{0} names no picture.', piece.text) : t('{0} is misspelt.', piece.text)
      return fix(text, best && t('Use {0}', nameOf(best.number)), best && replace(piece, nameOf(best.number)))
    })
    if (own.length > 1 && this.value.trim())
      for (const picture of own.filter((picture) => !named.has(picture.number)))
        out.push(fix(t('{0} is never named.', nameOf(picture.number)), t('Name it'), () =>
          this.change(`${this.value.trimEnd()} ${nameOf(picture.number)}`)))
    this.marks.replaceChildren(...out)
  }

  change(text, caret = text.length) {
    this.remember()
    this.value = text
    this.draw(document.activeElement === this.box ? caret : null)
    this.onchange(text)
  }

  remember() {
    this.past.push([this.value, this.caret() ?? this.value.length])
    if (this.past.length > HISTORY) this.past.shift()
    this.future = []
  }

  step(from, to) {
    const state = from.pop()
    if (!state) return
    to.push([this.value, this.caret() ?? 0])
    this.value = state[0]
    this.draw(state[1])
    this.onchange(this.value)
  }

  before(event) {
    if (event.inputType === 'historyUndo' || event.inputType === 'historyRedo') {
      event.preventDefault()
      if (event.inputType === 'historyUndo') this.step(this.past, this.future)
      else this.step(this.future, this.past)
    } else if (event.inputType === 'insertParagraph' || event.inputType === 'insertLineBreak') {
      event.preventDefault()
      this.insert('\n')
    } else if (event.inputType.startsWith('format')) event.preventDefault()
  }

  /** The text as the box has it after typing. */
  read() {
    const caret = this.caret()
    const text = textOf(this.box)
    if (text === this.value) return this.draw(caret)
    this.remember()
    this.value = text
    this.draw(caret)
    this.onchange(text)
    this.suggest(caret)
  }

  /** Insert a text with gaps, [what] and [how], and select the first. */
  fill(text) {
    this.box.focus()
    const [start] = this.selection()
    this.insert(text)
    const gap = /\[\w+\]/.exec(text)
    if (gap) this.place(start + gap.index, start + gap.index + gap[0].length)
  }

  insert(text) {
    const [start, end] = this.selection()
    this.change(this.value.slice(0, start) + text + this.value.slice(end), start + text.length)
  }

  paste(event) {
    const text = event.clipboardData.getData('text/plain')
    if (!text) return // a picture: the panel takes it
    event.preventDefault()
    event.stopPropagation()
    this.insert(text.replace(/\r\n?/g, '\n'))
  }

  copy(event, cut = false) {
    const [start, end] = this.selection()
    event.preventDefault()
    event.stopPropagation()
    if (start === end) return
    event.clipboardData.setData('text/plain', this.value.slice(start, end))
    if (cut) this.change(this.value.slice(0, start) + this.value.slice(end), start)
  }

  key(event) {
    if (!this.onsend && event.key === 'Enter' && (event.ctrlKey || event.metaKey)) return // ComfyUI's own: run
    event.stopPropagation() // the canvas has shortcuts for single keys
    const open = !this.list.hidden
    const control = event.ctrlKey || event.metaKey
    if (control && event.key.toLowerCase() === 'z') {
      event.preventDefault()
      if (event.shiftKey) this.step(this.future, this.past)
      else this.step(this.past, this.future)
    } else if (control && event.key.toLowerCase() === 'y') {
      event.preventDefault()
      this.step(this.future, this.past)
    } else if (open && ['ArrowDown', 'ArrowUp', 'Enter', 'Tab', 'Escape'].includes(event.key)) {
      event.preventDefault()
      const items = [...this.list.children]
      const at = items.findIndex((item) => item.ariaSelected === 'true')
      if (event.key === 'Escape') this.close()
      else if (event.key.startsWith('Arrow')) this.select(at + (event.key === 'ArrowDown' ? 1 : -1))
      else items[Math.max(at, 0)]?.dispatchEvent(new MouseEvent('mousedown'))
    } else if (event.key === 'Escape' && this.onescape) {
      event.preventDefault()
      this.onescape()
    } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && this.onsend) {
      event.preventDefault()
      this.onsend()
    }
  }

  /** List the pictures after `{` or `@`. */
  suggest(caret) {
    const begun = /[{@]([\w.]*)$/.exec(this.value.slice(0, caret))
    const offered = begun ? this.pictures().filter((picture) => nameOf(picture.number, picture.back).slice(1).startsWith(begun[1])) : []
    if (!offered.length) return this.close()
    const take = (picture) => {
      const name = nameOf(picture.number, picture.back)
      const rest = this.value.slice(caret).replace(/^[\w.]*\}/, '')
      const start = caret - begun[0].length
      this.close()
      this.change(this.value.slice(0, start) + name + rest, start + name.length)
    }
    this.list.replaceChildren(...offered.map((picture, i) =>
      h('li', {
        role: 'option', ariaSelected: String(i === 0),
        onmousedown: (event) => {
          event.preventDefault()
          take(picture)
        }
      }, picture.address ? h('img', { src: picture.address, alt: '' }) : null,
      h('b', { style: `--chip: ${picture.back ? 'var(--fg-color)' : colorOf(picture.number)}` }, nameOf(picture.number, picture.back)),
      h('small', {}, picture.label ?? ''))))
    this.list.hidden = false
  }

  select(index) {
    const items = [...this.list.children]
    const at = (index + items.length) % items.length
    for (const [i, item] of items.entries()) item.ariaSelected = String(i === at)
    items[at].scrollIntoView({ block: 'nearest' })
  }

  close() {
    this.list.hidden = true
  }

  caret() {
    const selection = this.box.ownerDocument.getSelection()
    return selection.rangeCount && this.box.contains(selection.focusNode) ? offsetOf(this.box, selection.focusNode, selection.focusOffset) : null
  }

  selection() {
    const selection = this.box.ownerDocument.getSelection()
    if (!selection.rangeCount || !this.box.contains(selection.anchorNode)) return [this.value.length, this.value.length]
    const ends = [[selection.anchorNode, selection.anchorOffset], [selection.focusNode, selection.focusOffset]]
    return ends.map(([node, offset]) => offsetOf(this.box, node, offset)).sort((a, b) => a - b)
  }

  /** Put the caret behind `offset` characters of the plain text, or select from there to `end`. */
  place(offset, end = offset) {
    const selection = this.box.ownerDocument.getSelection()
    const [from, to] = [this.spot(offset), this.spot(end)]
    selection.setBaseAndExtent(from.startContainer, from.startOffset, to.startContainer, to.startOffset)
  }

  /** The place behind so many characters, as a range without length. */
  spot(offset) {
    const range = document.createRange()
    range.selectNodeContents(this.box)
    range.collapse(false)
    let left = offset
    for (const node of this.box.childNodes) {
      const length = textOf(node).length
      if (left <= length && node.nodeType === Node.TEXT_NODE) {
        range.setStart(node, Math.min(left, node.data.length))
        break
      }
      if (left < length) {
        range.setStartAfter(node)
        break
      }
      left -= length
    }
    range.collapse(true)
    return range
  }
}

/** Plain text of the editor's content. */
export function textOf(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data.replaceAll('\u200b', '')
  if (node.dataset?.text) return node.dataset.text
  if (node.nodeName === 'BR') return '\n'
  return [...node.childNodes].map(textOf).join('')
}

/** How many characters of plain text stand before a place in the editor. */
function offsetOf(box, node, offset) {
  const range = document.createRange()
  range.selectNodeContents(box)
  range.setEnd(node, offset)
  return textOf(range.cloneContents()).length
}
