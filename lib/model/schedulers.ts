import { hasOwnNames } from './scheduler-flags.ts'
import type { Scheduler } from './types.ts'

/** The schedulers and persistence engines of Linux. There may be others, which are modules too: they may look at anything. */

/** All that have a module. */
export const SCHEDULERS: readonly Scheduler[] = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'lblc',
  'lblcr',
  'dh',
  'sh',
  'sed',
  'nq',
  'fo',
  'ovf',
  'mh',
  'twos',
]

export const PERSISTENCE_ENGINES: readonly string[] = ['sip']

/** Those to which a weight is 0, or not (ip_vs_rr.c, ip_vs_lc.c, ip_vs_dh.c). */
const WEIGHTLESS: ReadonlySet<Scheduler> = new Set(['rr', 'lc', 'dh'])

/** Whether a scheduler is known to take all weights above 0 for the same. */
export function ignoresWeights(scheduler: Scheduler): boolean {
  return WEIGHTLESS.has(scheduler)
}

/** Those that give each client, or each one of equals, the same server whatever the order is: test/kernel/order.test.ts. */
const UNORDERED: ReadonlySet<Scheduler> = new Set(['rr', 'wrr', 'lc', 'wlc', 'twos', 'none'])

/** Whether the order of real servers may decide which of them a client gets, for longer than one round. */
export function dependsOnOrder(scheduler: Scheduler): boolean {
  return !UNORDERED.has(scheduler)
}

const KNOWN: ReadonlySet<Scheduler> = new Set([...SCHEDULERS, 'none'])

/** Whether a scheduler is known to read no flags: only sh and mh do (ip_vs_sh.c, ip_vs_mh.c). */
export function ignoresFlags(scheduler: Scheduler): boolean {
  return KNOWN.has(scheduler) && !hasOwnNames(scheduler)
}
