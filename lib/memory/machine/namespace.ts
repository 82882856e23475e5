import { ServiceFlag } from '../../model/constants.ts'
import { Errno } from '../../model/errno.ts'
import { isUsable } from './addresses.ts'
import { Connections } from './connections.ts'
import { Counters, type Counts, ESTIMATOR_SECONDS } from './counters.ts'
import { Daemons } from './daemons.ts'
import type { Machine } from './machine.ts'
import { type OverloadRules, overloadRules } from './overload.ts'
import { refuse } from './refusal.ts'
import { bindScheduler } from './schedulers.ts'
import { loadSysctls, sysctlsOf } from './sysctls.ts'
import {
  Dest,
  type DestIdentity,
  type DestSettings,
  type ServiceIdentity,
  type VirtualServiceSettings,
  ServiceTable,
  VirtualService,
} from './table.ts'
import { ConnectionTimeouts } from './timeouts.ts'
import { Trash } from './trash.ts'

/** IPVS in one network namespace (struct netns_ipvs): its state, and the changes that commands make to it. */
export class Namespace {
  readonly machine: Machine
  readonly services: ServiceTable
  readonly trash: Trash = new Trash()
  readonly daemons: Daemons = new Daemons()
  readonly timeouts: ConnectionTimeouts = new ConnectionTimeouts()
  readonly connections: Connections = new Connections(this)
  /** The totals (ipvs->tot_stats). */
  readonly totals: Counters = new Counters()
  readonly overload: OverloadRules
  /** net.ipv4.vs, by name. */
  readonly sysctls: Map<string, string>
  /** Seconds since the kernel began, or this namespace if that is later. */
  now: number

  constructor(machine: Machine, now = 0) {
    this.now = now
    this.machine = machine
    this.services = new ServiceTable(machine.hashSeed, machine.features.has('growingTables'))
    this.overload = overloadRules(machine.features)
    this.sysctls = sysctlsOf(machine.version, machine.sysctls)
  }

  /** Lets time pass: entries time out, and the estimator runs every two seconds. */
  advance(seconds: number): void {
    const end = this.now + seconds
    // Nothing is counted meanwhile, so once every average is stable the estimator need not run again.
    let moves = true
    for (;;) {
      const estimate = (Math.floor(this.now / ESTIMATOR_SECONDS) + 1) * ESTIMATOR_SECONDS
      const look = moves ? estimate : Infinity
      this.now = Math.min(end, look, Math.max(this.now, Math.min(this.connections.due, this.trash.due)))
      if (this.connections.due <= this.now) this.connections.expire()
      if (this.trash.due <= this.now) this.trash.look(this.now)
      if (this.now === look) moves = this.#estimate()
      else if (this.now === end) return
    }
  }

  /** Counts traffic to or from a real server: for the server, its service and the totals. */
  count({ counters, service }: Dest, more: Partial<Counts>): void {
    for (const each of [counters, service.counters, this.totals]) each.count(more)
  }

  /** Returns whether there will be something to do the next time too. */
  #estimate(): boolean {
    if (this.sysctls.get('run_estimation') === '0') return false
    let moves = this.totals.estimate()
    for (const { counters, dests } of this.services) {
      for (const each of [counters, ...dests.map((dest) => dest.counters)]) moves = each.estimate() || moves
    }
    return moves
  }

  /** Whether a service has a real server of another family than its own. */
  get hasMixedFamilies(): boolean {
    for (const { identity, dests } of this.services) {
      if (dests.some((dest) => dest.identity.family !== identity.family)) return true
    }
    return false
  }

  addService(identity: ServiceIdentity, settings: VirtualServiceSettings): void {
    const service = new VirtualService(identity, {
      ...settings,
      flags: (settings.flags | ServiceFlag.HASHED) >>> 0,
    })
    this.#bind(service)
    this.services.add(service)
  }

  editService(service: VirtualService, settings: VirtualServiceSettings): void {
    const rebind = settings.scheduler !== service.settings.scheduler
    Object.assign(service.settings, settings, { flags: (settings.flags | ServiceFlag.HASHED) >>> 0 })
    // The same scheduler keeps its state.
    if (rebind) this.#bind(service)
  }

  /** Loads the scheduler's module, which then stays loaded. */
  #bind(service: VirtualService): void {
    const { scheduler } = service.settings
    loadSysctls(scheduler, this.sysctls)
    service.schedulerState = bindScheduler(scheduler, service, this.machine.features)
  }

  deleteService(service: VirtualService): void {
    this.services.remove(service)
    for (const dest of [...service.dests]) this.#unlink(dest)
  }

  /** Takes it back from the trash if it is there, or makes a new one if the address is accepted. */
  addDest(service: VirtualService, identity: DestIdentity, settings: DestSettings): void {
    let dest = this.trash.take(identity, service.identity)
    const old = dest?.settings
    if (dest === undefined) {
      const { interfaces } = this.machine
      if (!isUsable(identity.family, identity.address, interfaces)) refuse(Errno.EINVAL)
      dest = new Dest(identity, service, settings)
    } else if (dest.service !== service) {
      dest.counters.zero()
      dest.service = service
    }
    dest.lastWeight = settings.weight
    dest.settings = settings
    this.overload.edited(dest, old)
    dest.available = true
    service.add(dest)
    service.schedulerState?.changed?.()
  }

  editDest(dest: Dest, settings: DestSettings): void {
    if (settings.weight !== 0) dest.lastWeight = settings.weight
    const old = dest.settings
    dest.settings = settings
    this.overload.edited(dest, old)
    dest.service.schedulerState?.changed?.()
  }

  deleteDest(dest: Dest): void {
    const place = dest.service.dests.indexOf(dest)
    this.#unlink(dest)
    dest.service.schedulerState?.changed?.({ dest, place })
  }

  #unlink(dest: Dest): void {
    dest.available = false
    dest.service.remove(dest)
    this.trash.put(dest, this.now)
  }
}
