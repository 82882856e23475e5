import type { MemoryInterface } from '../../lib/testing.ts'

/** The interfaces of the namespaces in which memory and the real kernel are compared. */
export const INTERFACES: readonly MemoryInterface[] = [
  { name: 'lo', mtuBytes: 65536, addresses: ['127.0.0.1/8', '::1/128'] },
  { name: 'd0', addresses: ['10.9.9.1/24', 'fd00::1/64'] },
]
