/** panel.css, once on the page. */
import { h } from './dom.mjs'

export function style() {
  const link = h('link', { rel: 'stylesheet', href: new URL('./panel.css', import.meta.url).href })
  if (!document.querySelector(`link[href="${link.href}"]`)) document.head.append(link)
}
