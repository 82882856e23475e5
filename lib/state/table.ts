import type { CompleteServer } from '../model/server-settings.ts'
import type { ServiceKey, ServiceSpec, SyncDaemonSpec, Timeouts } from '../model/types.ts'

/**
 * What a director has, or shall have. Of a state that is wanted it is the
 * complete form, with every default spelt out and every address written as the
 * kernel reads back: so two of them can be compared.
 */
export interface Table {
  readonly services: readonly Entry[]
  /** Absent, like those below: it was not asked for. */
  readonly timeouts?: Partial<Timeouts>
  readonly syncDaemons?: readonly SyncDaemonSpec[]
  readonly sysctls?: Readonly<Record<string, string>>
}

/** A virtual service of a table. */
export interface Entry {
  /** formatServiceKey(key), which is made once. */
  readonly id: string
  readonly key: ServiceKey
  readonly spec: ServiceSpec
  /** In the kernel's order: newest first. */
  readonly servers: readonly CompleteServer[]
}

/** What else than services a table is read with. */
export interface Parts {
  readonly timeouts?: boolean
  readonly syncDaemons?: boolean
  /** Names; those that the kernel does not have are left out. */
  readonly sysctls?: readonly string[]
}
