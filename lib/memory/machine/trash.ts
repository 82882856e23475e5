import { addressKey } from './addresses.ts'
import { type Dest, type DestIdentity, type ServiceIdentity, serviceKey } from './table.ts'

/** How long a deleted server that nothing refers to is kept, and how often the kernel looks (IP_VS_DEST_TRASH_PERIOD). */
const IDLE_SECONDS = 120
const LOOK_SECONDS = 60

interface Deleted {
  readonly dest: Dest
  /** The time when it was first seen without connections. */
  idleSince?: number
}

/**
 * Deleted real servers. The kernel keeps them while connections refer to them, and
 * two to three minutes longer. A server that is added again meanwhile is the same
 * object, with its counters and connections.
 */
export class Trash {
  #deleted: Deleted[] = []
  /** When the kernel looks next; undefined while the trash is empty. */
  #nextLook: number | undefined

  get size(): number {
    return this.#deleted.length
  }

  /** When something will happen here as time passes. */
  get due(): number {
    return this.#nextLook ?? Infinity
  }

  put(dest: Dest, now: number): void {
    if (this.#deleted.length === 0) this.#nextLook = now + LOOK_SECONDS
    this.#deleted.unshift({ dest })
  }

  /** Takes out a server that was deleted from such a service (ip_vs_trash_get_dest()). */
  take(identity: DestIdentity, service: ServiceIdentity): Dest | undefined {
    const index = this.#deleted.findIndex(({ dest }) => isSame(dest, identity, service))
    return index < 0 ? undefined : this.#deleted.splice(index, 1)[0]?.dest
  }

  /** The work of the kernel's timer (ip_vs_dest_trash_expire()). */
  look(now: number): void {
    this.#deleted = this.#deleted.filter((deleted) => {
      const { active, inactive, persistent } = deleted.dest
      if (active + inactive + persistent > 0) return true
      if (deleted.idleSince === undefined) {
        deleted.idleSince = now
        return true
      }
      return now < deleted.idleSince + IDLE_SECONDS
    })
    this.#nextLook = this.#deleted.length === 0 ? undefined : now + LOOK_SECONDS
  }

  [Symbol.iterator](): Iterator<Dest> {
    return this.#deleted.map(({ dest }) => dest).values()
  }
}

function isSame(dest: Dest, { family, address, port }: DestIdentity, service: ServiceIdentity): boolean {
  return (
    dest.identity.family === family &&
    dest.identity.port === port &&
    addressKey(dest.identity.address) === addressKey(address) &&
    // A firewall mark has neither address nor port, so its family makes no difference here.
    (service.fwmark !== 0
      ? dest.virtual.fwmark === service.fwmark && dest.virtual.protocol === service.protocol
      : serviceKey(dest.virtual) === serviceKey(service))
  )
}
