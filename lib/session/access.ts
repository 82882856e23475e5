import { numbers } from '../codec/stats.ts'
import { familyOfService } from '../model/address.ts'
import { Command } from '../model/constants.ts'
import { IpvsError } from '../model/errors.ts'
import { serviceName } from '../model/keys.ts'
import { completeSettings, specOfServer } from '../model/server-settings.ts'
import { ALL_FLAGS, type KernelService, kernelServiceOf, specOfService } from '../model/service-settings.ts'
import type { ServiceKey, ServiceSettings } from '../model/types.ts'
import type { CheckedStep } from '../state/steps.ts'
import type { Entry, Parts, Table } from '../state/table.ts'
import type { Failure, Request, Transport } from '../transport/transport.ts'
import { slices } from '../util/pace.ts'
import { readDaemons, readTable, valuesOf } from './reads.ts'
import { forCommand, refusal, stepRefusal } from './refusals.ts'
import { answer, commands, encodeDest, encodeService, queries } from './requests.ts'

/** The kernel, for a task that has it to itself: reads and writes the parts of a state. */
export interface Access {
  read(parts: Parts): Promise<Table>
  /** Runs all steps in order, also after one has failed. */
  write(steps: readonly CheckedStep[]): Promise<readonly (IpvsError | undefined)[]>
}

/** Turns failures into errors that name what they are about. */
export function accessOf(transport: Transport, command: string): Access {
  const access = new StateAccess(transport)
  return {
    async read(parts) {
      try {
        const table = await access.read(parts)
        if ('errno' in table) throw refusal(table, command)
        return table
      } catch (error) {
        throw forCommand(error, command)
      }
    },
    async write(steps) {
      const failures = await access.write(steps)
      return failures.map((failure, index) => failure && stepRefusal(failure, steps[index] as CheckedStep))
    },
  }
}

/** Reads and writes the parts of a state while a task has the transport to itself. */
class StateAccess {
  readonly #transport: Transport
  /**
   * Services that are not persistent but still have the timeout and netmask of a
   * persistence that they once had, which a SET would reset.
   */
  readonly #hidden = new Map<string, KernelService>()

  constructor(transport: Transport) {
    this.#transport = transport
  }

  async read({ timeouts, syncDaemons, sysctls }: Parts): Promise<Table | Failure> {
    const transport = this.#transport
    const read = await readTable(
      transport,
      numbers,
      ({ key, ...state }, kernel) => {
        const id = serviceName(key)
        const spec = specOfService({ key, ...state })
        const plain = PLAIN[state.family]
        if (
          spec.persistence === undefined &&
          (kernel.timeoutSeconds !== plain.timeoutSeconds || kernel.netmask !== plain.netmask)
        ) {
          this.#hidden.set(id, kernel)
        }
        return { id, key, spec }
      },
      (_, state) => specOfServer(state, state),
      ({ id }) => id,
    )
    if ('errno' in read) return read
    const services: Entry[] = []
    for await (const some of slices(read)) {
      for (const { service, realServers } of some) services.push({ ...service, servers: realServers })
    }
    const daemons = syncDaemons === true ? await readDaemons(transport) : undefined
    if (daemons !== undefined && 'errno' in daemons) return daemons
    const query = queries.timeouts()
    const [reply] = timeouts === true ? await transport.batch([query.request]) : []
    if (reply?.failure !== undefined) return reply.failure
    const files = sysctls === undefined ? undefined : await valuesOf(transport, sysctls)
    if (files !== undefined && 'errno' in files) return files
    return {
      services,
      ...(reply !== undefined && { timeouts: answer(query, reply) }),
      ...(daemons !== undefined && { syncDaemons: daemons }),
      ...(files !== undefined && { sysctls: files.values }),
    }
  }

  /** Runs all steps in order, also after one has failed. Returns the outcome of each. */
  async write(steps: readonly CheckedStep[]): Promise<(Failure | undefined)[]> {
    const outcomes: (Failure | undefined)[] = []
    let requests: Request[] = []
    const send = async (): Promise<void> => {
      if (requests.length === 0) return
      const replies = await this.#transport.batch(requests)
      requests = []
      for (const { failure } of replies) outcomes.push(failure)
    }
    for await (const some of slices(steps)) {
      for (const step of some) {
        if (step.kind !== 'set-sysctl') {
          requests.push(this.#encode(step))
          continue
        }
        await send()
        outcomes.push(await this.#transport.setSysctl(step.name, step.after))
      }
    }
    await send()
    return outcomes
  }

  #encode(step: Exclude<CheckedStep, { readonly kind: 'set-sysctl' }>): Request {
    switch (step.kind) {
      case 'add-service':
        return encodeService(Command.NEW_SERVICE, step.service, this.#settings(step.service, step.after))
      case 'edit-service':
        return encodeService(Command.SET_SERVICE, step.service, this.#settings(step.service, step.after))
      case 'delete-service':
        return commands.deleteService(step.service)
      case 'add-server':
        return encodeDest(Command.NEW_DEST, step.service, step.server, completeSettings(step.after))
      case 'edit-server':
        return encodeDest(Command.SET_DEST, step.service, step.server, completeSettings(step.after))
      case 'delete-server':
        return commands.deleteDest(step.service, step.server)
      case 'set-timeouts':
        return commands.setTimeouts(step.after)
      case 'start-daemon':
        return commands.startDaemon(step.after)
      case 'stop-daemon':
        return commands.stopDaemon(step.state)
    }
  }

  #settings(key: ServiceKey, spec: ServiceSettings): KernelService {
    const kernel = kernelServiceOf(spec, familyOfService(key), ALL_FLAGS)
    if (spec.persistence !== undefined || this.#hidden.size === 0) return kernel
    const { timeoutSeconds, netmask } = this.#hidden.get(serviceName(key)) ?? kernel
    return { ...kernel, timeoutSeconds, netmask }
  }
}

/** The settings that the kernel gets for a service with all defaults. */
const PLAIN = { ipv4: kernelServiceOf({}, 'ipv4'), ipv6: kernelServiceOf({}, 'ipv6') }
