import type { OpenOptions } from '../session/open.ts'
import type { ServiceKey, State, Tunnel } from '../model/types.ts'
import type { Role } from './findings/finding.ts'

/** What is diagnosed. */
export interface DiagnoseOptions extends OpenOptions {
  /** What this machine is for. Default 'director'. */
  readonly role?: Role | undefined
  /**
   * The services that are looked at, as keys or texts such as 'tcp/192.0.2.10:80'. A director:
   * default all. A real server has no table, so it needs them.
   */
  readonly services?: readonly (ServiceKey | string)[] | undefined
  /** A director: looks at the services of this state instead of those of the table, before it is applied. */
  readonly state?: State | undefined
  /** A director: what `save()` gave on the other one, to compare their sync daemons. */
  readonly peer?: State | undefined
  /** A real server: the method with which the director reaches it. Default 'direct'. */
  readonly method?: 'masquerade' | 'direct' | 'tunnel' | undefined
  /** A real server: the tunnel through which packets come. Default IP-in-IP, with method 'tunnel'. */
  readonly tunnel?: Tunnel | undefined
  /** A real server: address of the director in its network, which method 'masquerade' needs as the gateway. */
  readonly director?: string | undefined
  /** Ends the programs that run, and rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined
}
