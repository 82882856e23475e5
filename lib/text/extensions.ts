import type { StateFormat } from './syntax-error.ts'

/** The formats of files whose names end so. */
const FORMATS: Readonly<Record<string, StateFormat>> = {
  '.json': 'json',
  '.yaml': 'yaml',
  '.yml': 'yaml',
  '.rules': 'ipvsadm',
  '.ipvs': 'ipvsadm',
  '.save': 'ipvsadm',
}

export const EXTENSIONS: readonly string[] = Object.keys(FORMATS)

/** The format that the name of a file says, in upper case or lower; `undefined` if it says none. */
export function formatOfName(path: string): StateFormat | undefined {
  // A name that begins with its only dot has no extension.
  const [, extension = ''] = /[^/](\.[^./]+)$/.exec(path) ?? []
  return FORMATS[extension.toLowerCase()]
}
