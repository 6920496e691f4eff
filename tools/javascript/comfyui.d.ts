// What js/ uses of ComfyUI's page.
declare module '*/scripts/app.js' {
  export const app: any
}
declare module '*/scripts/api.js' {
  export const api: any
}
interface Window {
  LiteGraph: any
}
