import { ServiceFlag } from '../codec/constants.ts'
import { isUsable } from './addresses.ts'
import { Daemons } from './daemons.ts'
import { Errno, refuse } from './errno.ts'
import type { Machine } from './options.ts'
import { bindScheduler } from './schedulers.ts'
import {
  Dest,
  type DestIdentity,
  type DestSettings,
  type ServiceIdentity,
  type ServiceSettings,
  ServiceTable,
  VirtualService,
} from './table.ts'
import { sysctlsOf } from './sysctls.ts'
import { Timeouts } from './timeouts.ts'
import { Trash } from './trash.ts'

/** IPVS in one network namespace (struct netns_ipvs): its state, and the changes that commands make to it. */
export class Namespace {
  readonly machine: Machine
  readonly services: ServiceTable
  readonly trash: Trash = new Trash()
  readonly daemons: Daemons = new Daemons()
  readonly timeouts: Timeouts = new Timeouts()
  /** net.ipv4.vs, by name. */
  readonly sysctls: Map<string, string>
  /** Seconds since it came to be. */
  now = 0

  constructor(machine: Machine) {
    this.machine = machine
    this.services = new ServiceTable(machine.hashSeed)
    this.sysctls = sysctlsOf(machine.version, machine.sysctls)
  }

  /** Whether a service has a real server of another family than its own. */
  get hasMixedFamilies(): boolean {
    for (const { identity, dests } of this.services) {
      if (dests.some((dest) => dest.identity.family !== identity.family)) return true
    }
    return false
  }

  addService(identity: ServiceIdentity, settings: ServiceSettings): void {
    const service = new VirtualService(identity, {
      ...settings,
      flags: (settings.flags | ServiceFlag.HASHED) >>> 0,
    })
    service.schedulerState = bindScheduler(settings.scheduler, service)
    this.services.add(service)
  }

  editService(service: VirtualService, settings: ServiceSettings): void {
    const rebind = settings.scheduler !== service.settings.scheduler
    Object.assign(service.settings, settings, { flags: (settings.flags | ServiceFlag.HASHED) >>> 0 })
    // With the same scheduler all that it knows stays.
    if (rebind) service.schedulerState = bindScheduler(settings.scheduler, service)
  }

  deleteService(service: VirtualService): void {
    this.services.remove(service)
    for (const dest of [...service.dests]) this.#unlink(dest)
  }

  /** Takes it back from the trash if it is there, or makes a new one if the address will do. */
  addDest(service: VirtualService, identity: DestIdentity, settings: DestSettings): void {
    let dest = this.trash.take(identity, service.identity)
    if (dest === undefined) {
      const { interfaces } = this.machine
      if (!isUsable(identity.family, identity.address, interfaces)) refuse(Errno.EINVAL)
      dest = new Dest(identity, service, settings)
    } else if (dest.service !== service) {
      dest.counters.zero()
      dest.service = service
    }
    dest.lastWeight = settings.weight
    this.#apply(dest, settings)
    dest.available = true
    service.add(dest)
    service.schedulerState?.changed?.('add', dest)
  }

  editDest(dest: Dest, settings: DestSettings): void {
    if (settings.weight !== 0) dest.lastWeight = settings.weight
    this.#apply(dest, settings)
    dest.service.schedulerState?.changed?.('edit', dest)
  }

  deleteDest(dest: Dest): void {
    this.#unlink(dest)
    dest.service.schedulerState?.changed?.('delete', dest)
  }

  /** The settings, and what they say of overload (__ip_vs_update_dest()). */
  #apply(dest: Dest, settings: DestSettings): void {
    const before = dest.settings.upperThreshold
    dest.settings = settings
    const { upperThreshold } = settings
    if (upperThreshold === 0 || upperThreshold > before) dest.overloaded = false
  }

  #unlink(dest: Dest): void {
    dest.available = false
    dest.service.remove(dest)
    this.trash.put(dest, this.now)
  }
}
