import type { Dest, VirtualService } from './table.ts'

/** What a scheduler knows of a new connection. */
export interface Client {
  /** 16 bytes, of which IPv4 has the first four. */
  readonly address: Uint8Array
  readonly port: number
  /** Where the connection goes: what dh, lblc and lblcr look at. */
  readonly virtualAddress: Uint8Array
}

/** A scheduler bound to a service (struct ip_vs_scheduler and sched_data). */
export interface SchedulerState {
  /** A real server was added, changed, or is about to be forgotten. */
  changed?(kind: 'add' | 'edit' | 'delete', dest: Dest): void
  /** The server for a new connection, or undefined if none may have it. */
  schedule(client: Client): Dest | undefined
}

/** Starts a scheduler for a service. */
export function bindScheduler(name: string, service: VirtualService): SchedulerState | undefined {
  name
  service
  return undefined
}
