/** Elements without a framework. Texts are always text: nothing here reads markup. */

/** h('button.primary', {onclick, title, 'aria-label': …}, child, …): a new element. Children: elements, texts, null. */
export function h(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split('.')
  const element = document.createElement(tag || 'div')
  element.classList.add(...classes)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (name === 'dataset') Object.assign(element.dataset, value)
    else if (name in element && !name.includes('-')) element[name] = value
    else element.setAttribute(name, value === true ? '' : value)
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

/** A button with an icon of PrimeIcons and a label for screen readers. */
export const iconButton = (icon, label, onclick, more = {}) =>
  h('button.ace-icon', { type: 'button', title: label, 'aria-label': label, onclick, ...more },
    h(`i.pi.pi-${icon}`, { 'aria-hidden': 'true' }))

/** A dialog over the page: closes on Escape, gives the focus back. light: closes also at a click beside it. */
export function dialog(label, content, { light = false } = {}) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement)
  const element = h('dialog.ace-dialog', { 'aria-label': label }, content)
  element.addEventListener('close', () => {
    element.remove()
    before?.focus()
  })
  element.addEventListener('keydown', (event) => event.stopPropagation()) // the canvas has shortcuts for single keys
  if (light) element.addEventListener('click', (event) => event.target === element && element.close())
  document.body.append(element)
  element.showModal()
  return element
}

/** Put a text on the clipboard; on pages without https the browser has no other way. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text)
  const area = h('textarea', { value: text, style: 'position: fixed; opacity: 0' })
  document.body.append(area)
  area.select()
  document.execCommand('copy')
  area.remove()
}
