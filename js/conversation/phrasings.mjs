/** A menu of ready-made instructions by task, as the node ACE Instruction has them. */
import { h } from './dom.mjs'
import { t } from './words.mjs'

/** take(text): what to do with the phrasing that was chosen; [what] and [how] are gaps to fill. */
export function phrasingsMenu(take) {
  const label = t('Ready-made instructions')
  const menu = h('select.ace-phrasings', { 'aria-label': label, title: label, onkeydown: (event) => event.stopPropagation(),
    onchange: () => {
      const text = menu.value
      menu.selectedIndex = 0
      if (text) take(text)
    } }, h('option', { value: '' }, t('Ready-made…')))
  fill(menu).catch((error) => {
    console.error('ACE Editor: phrasings.json cannot be read:', error)
    menu.disabled = true
  })
  return menu
}

async function fill(menu) {
  const groups = await (await fetch(new URL('./phrasings.json', import.meta.url))).json()
  for (const [group, tasks] of Object.entries(groups))
    for (const [task, texts] of Object.entries(tasks))
      menu.append(h('optgroup', { label: `${group}: ${task}` }, texts.map((text) => h('option', { value: text }, text))))
}
