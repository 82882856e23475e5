import { checkOptions, object, whole } from '../model/check.ts'
import { netnsPath } from '../model/validate.ts'
import { openNative } from '../transport/native.ts'
import type { Failure, Transport } from '../transport/transport.ts'
import { isAbsent, refusal } from './refusals.ts'
import { Session } from './session.ts'
import { TIMER_MAX_MS } from '../util/sleep.ts'

/** How to reach a kernel. */
export interface OpenOptions {
  /**
   * Network namespace to work in: a name under /run/netns, or a path (anything
   * with a slash), such as /proc/1234/ns/net. Needs CAP_SYS_ADMIN. Default:
   * that of the process.
   */
  readonly netns?: string | undefined
  /**
   * How long to wait for a reply. 1 to 2147483647 ms, default 5000. The kernel
   * does its work while a request is sent, and that time does not count. Only
   * loading a module can make it long.
   */
  readonly timeoutMs?: number | undefined
  /** Reaches a kernel by other means than the addon. Not together with `netns`. */
  readonly transport?: Transport | undefined
}

const DEFAULT_TIMEOUT_MS = 5000

/** Opens a conversation. See Ipvs.open(). */
export async function openSession(options: OpenOptions): Promise<Session> {
  const transport = await connect(options)
  if ('errno' in transport) throw refusal(transport, 'open', placeOf(options))
  return new Session(transport)
}

/** Runs work in a scratch network namespace, which ends with it. Passes no session if the kernel has no IPVS. */
export async function inScratch<T>(
  options: OpenOptions,
  command: string,
  work: (session: Session | undefined) => Promise<T>,
): Promise<T> {
  const transport = await connect(options)
  if ('errno' in transport) {
    if (isAbsent(transport)) return work(undefined)
    throw refusal(transport, command, placeOf(options))
  }
  try {
    const scratch = await transport.openScratch()
    if ('errno' in scratch) {
      if (isAbsent(scratch)) return await work(undefined)
      throw refusal(scratch, command)
    }
    const session = new Session(scratch)
    try {
      return await work(session)
    } finally {
      await session.close()
    }
  } finally {
    if (options.transport === undefined) await transport.close()
  }
}

async function connect(options: OpenOptions): Promise<Transport | Failure> {
  if (typeof (options as Partial<Transport> | null)?.batch === 'function') {
    throw new TypeError(
      'pass a transport, such as the in-memory kernel, as an option: Ipvs.open({ transport })',
    )
  }
  checkOptions(options, ['netns', 'timeoutMs', 'transport'])
  const { netns, timeoutMs, transport } = options
  const wait = whole(timeoutMs ?? DEFAULT_TIMEOUT_MS, 'timeoutMs', 1, TIMER_MAX_MS)
  if (transport !== undefined) {
    object(transport, 'transport')
    if (netns !== undefined) throw new TypeError('netns cannot be used together with transport')
    return transport
  }
  if (netns === undefined) return openNative({ timeoutMs: wait })
  return openNative({ netns: netnsPath(netns), timeoutMs: wait })
}

function placeOf({ netns }: OpenOptions): { readonly netns?: string } {
  return netns === undefined ? {} : { netns }
}
