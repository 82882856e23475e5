/** Numbers as a sysctl takes them (proc_get_long), and as it then reads; `undefined` for what it refuses. */
export const SPELLINGS: readonly (readonly [written: string, read: string | undefined])[] = [
  ['0x10', '16'],
  ['010', '8'],
  ['-0x1', '-1'],
  ['-0', '0'],
  ['08', undefined],
  ['+1', undefined],
  ['0x', undefined],
]
