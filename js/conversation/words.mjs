/** The panel's texts: English here, other languages in locales/<language>/main.json under `aceEditor`. */
import { app } from '../../../scripts/app.js'
import { api } from '../../../scripts/api.js'

let translated = {}

/** Learn the page's language. */
export async function learn() {
  const language = app.extensionManager.setting?.get('Comfy.Locale') ?? 'en'
  if (language === 'en') return
  try {
    const all = await (await api.fetchApi('/i18n')).json()
    translated = all[language]?.aceEditor ?? {}
  } catch {
    translated = {} // English is better than nothing
  }
}

/** t('{0} of {1} pictures', 3, 9) */
export const t = (text, ...values) =>
  (translated[text] ?? text).replace(/\{(\d)\}/g, (whole, number) => values[number] ?? whole)
