import type { Family, ForwardingMethod, Scheduler } from './types.ts'

/** Values of the fields that a spec or a state leaves out, as ipvsadm has them. */
export const DEFAULT_SCHEDULER: Scheduler = 'wlc'
export const DEFAULT_PERSISTENCE_SECONDS = 300
/** Each client counts by itself. */
export const DEFAULT_NETMASK: Readonly<Record<Family, string | number>> = {
  ipv4: '255.255.255.255',
  ipv6: 128,
}
export const DEFAULT_METHOD: ForwardingMethod = 'direct'
export const DEFAULT_WEIGHT = 1
