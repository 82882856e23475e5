import { readFileSync } from 'node:fs'

/** A host that has to be looked up before a line can be read: then read it again. */
export class HostWanted extends Error {
  readonly host: string

  constructor(host: string) {
    super(`the address of ${host} is not known yet`)
    this.host = host
  }
}

/** Look-ups at a time: they mostly wait for a name server. */
const AT_ONCE = 32

/**
 * After this many addresses for which no name server answered, the others are
 * written as numbers: a look-up of each would only cost time.
 */
const SILENT_ANSWERS = 64

/** Where names come from. Their answers may be anything. */
export interface NameSources {
  /** A text as /etc/services has it. */
  readonly services: () => string
  /** The address of a host in a family. Rejects or gives `undefined` if it has none. */
  readonly lookUp: (host: string, family: 4 | 6) => Promise<string | undefined>
  /** The name of the host with an address. Rejects if it has none, with EAI_AGAIN if no name server answered. */
  readonly lookUpName: (address: string) => Promise<string | undefined>
}

/** The system's resolver and /etc/services. */
export const systemNames: NameSources = {
  services: () => readFileSync('/etc/services', 'utf8'),
  async lookUp(host, family) {
    const { lookup } = await import('node:dns/promises')
    return (await lookup(host, { family })).address
  },
  async lookUpName(address) {
    const { lookupService } = await import('node:dns/promises')
    return fromUtf8((await lookupService(address, 0)).hostname)
  },
}

/** Node makes a character of each byte of a name. A name that is not UTF-8 stays like that. */
function fromUtf8(name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(name, 'latin1'))
  } catch {
    return name
  }
}

/** Names of hosts and services, each asked for once. */
export class Names {
  readonly #sources: NameSources
  readonly #addresses = {
    4: new Map<string, string | undefined>(),
    6: new Map<string, string | undefined>(),
  }
  readonly #hosts = new Map<string, string | undefined>()
  #services: Services | undefined
  #silent = 0

  constructor(sources: NameSources) {
    this.#sources = sources
  }

  /** The IPv4 address of a host, or the other, once it was looked up. Throws {@link HostWanted} before that. */
  addressOf(host: string, family: 4 | 6 = 4): string | undefined {
    const known = this.#addresses[family]
    if (!known.has(host)) throw new HostWanted(host)
    return known.get(host)
  }

  /** Looks up the IPv4 address of a host, which is the one that ipvsadm looks up; or the other. */
  async findAddress(host: string, family: 4 | 6 = 4): Promise<void> {
    const address = await this.#sources.lookUp(host, family).catch(() => undefined)
    // Most runs look nothing up, and need not load it.
    const { isIP } = await import('node:net')
    // The answer for an address of the other family is that address.
    this.#addresses[family].set(host, isIP(address ?? '') === family ? address : undefined)
  }

  /** Looks up the names of the hosts with these addresses. */
  async findHosts(addresses: Iterable<string>): Promise<void> {
    const wanted = [...new Set(addresses)].filter((address) => !this.#hosts.has(address))
    const work = async (): Promise<void> => {
      for (let address = wanted.pop(); address !== undefined; address = wanted.pop()) {
        this.#hosts.set(address, await this.#findHost(address))
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
  }

  /** The name of the host with an address that was looked up; `undefined` if it has none. */
  hostOf(address: string): string | undefined {
    return this.#hosts.get(address)
  }

  /** The port of a service by its name or one of its other names. */
  portOf(service: string, protocol: string): number | undefined {
    return this.#read().ports.get(`${service}/${protocol}`)
  }

  /** The name of the service on a port. */
  serviceOf(port: number, protocol: string): string | undefined {
    return this.#read().names.get(`${String(port)}/${protocol}`)
  }

  async #findHost(address: string): Promise<string | undefined> {
    if (this.#silent >= SILENT_ANSWERS) return undefined
    try {
      const name = await this.#sources.lookUpName(address)
      return name === '' ? undefined : name
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAI_AGAIN') this.#silent += 1
      return undefined
    }
  }

  #read(): Services {
    if (this.#services === undefined) {
      let text = ''
      try {
        text = this.#sources.services()
      } catch {
        // Without the file no service has a name.
      }
      this.#services = readServices(text)
    }
    return this.#services
  }
}

interface Services {
  /** 'http/tcp' -> 80 */
  readonly ports: ReadonlyMap<string, number>
  /** '80/tcp' -> 'http' */
  readonly names: ReadonlyMap<string, string>
}

/** Reads services(5). The first line with a name or a port counts. Lines whose number is not a port are left out. */
export function readServices(text: string): Services {
  const ports = new Map<string, number>()
  const names = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [name, entry, ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/)
    const [, digits, protocol] = /^(\d+)\/(\S+)$/.exec(entry ?? '') ?? []
    if (name === undefined || digits === undefined || protocol === undefined) continue
    const port = Number(digits)
    if (port > 65535) continue
    const key = `${String(port)}/${protocol}`
    if (!names.has(key)) names.set(key, name)
    for (const each of [name, ...aliases]) {
      if (!ports.has(`${each}/${protocol}`)) ports.set(`${each}/${protocol}`, port)
    }
  }
  return { ports, names }
}
