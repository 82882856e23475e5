import { type AttributeReader } from '../codec/attributes.ts'
import * as services from '../codec/service.ts'
import { numbers } from '../codec/stats.ts'
import { familyOfService } from '../model/address.ts'
import { Command } from '../model/constants.ts'
import { serviceName } from '../model/keys.ts'
import {
  type DecodedService,
  kernelServiceOf,
  mergeService,
  newService,
  withServiceSettings,
} from '../model/service-settings.ts'
import type {
  CounterOf,
  ReadOptions,
  RequestOptions,
  ServiceChanges,
  ServiceKey,
  ServiceSpec,
  ServiceState,
} from '../model/types.ts'
import { checkServiceChanges, checkServiceSpec } from '../model/validate.ts'
import type { Failure, Transport } from '../transport/transport.ts'
import { slices } from '../util/pace.ts'
import { type EditOutcome, runEdits } from './edits.ts'
import { checkReadOptions, kindOf, LIST_SERVICES, readServices } from './reads.ts'
import { edited, modulesOf } from './refusals.ts'
import { answer, commands, encodeService, queries } from './requests.ts'
import type { Session } from './session.ts'

/** Reads, adds, edits and deletes virtual services. Each function checks its arguments and returns plain states. */

/** Lists all services, each turned into a result by `make`. */
export async function listServicesAs<S extends { readonly key: ServiceKey }, B extends boolean = false>(
  session: Session,
  options: ReadOptions<B>,
  make: (state: ServiceState<CounterOf<B>>) => S,
): Promise<S[]> {
  checkReadOptions(options)
  const kind = kindOf(options)
  return session.read('services', (transport) => readServices(transport, kind, make), options)
}

export async function readService<B extends boolean = false>(
  session: Session,
  service: ServiceKey,
  options: ReadOptions<B>,
): Promise<ServiceState<CounterOf<B>>> {
  checkReadOptions(options)
  const query = queries.service(service, kindOf(options))
  const { signal } = options
  return session.ask('service', query, signal === undefined ? {} : { signal }, { service })
}

export async function addService(
  session: Session,
  service: ServiceKey,
  spec: ServiceSpec,
  options: RequestOptions,
): Promise<ServiceState> {
  const kernel = kernelServiceOf(checkServiceSpec(spec, service), familyOfService(service))
  const { state } = newService(service, kernel)
  const request = encodeService(Command.NEW_SERVICE, service, kernel)
  await session.tell('addService', request, options, { service, ...modulesOf(state) })
  return state
}

export async function editService(
  session: Session,
  service: ServiceKey,
  changes: ServiceChanges,
  options: RequestOptions,
): Promise<ServiceState> {
  const item = { key: service, changes: checkServiceChanges(changes, service) }
  const subject = { service, ...modulesOf(item.changes) }
  const outcome = await session.join('editService', editServices, item, options, subject)
  return edited(outcome, 'editService', subject).state
}

export async function deleteService(
  session: Session,
  service: ServiceKey,
  options: RequestOptions,
): Promise<void> {
  await session.tell('deleteService', commands.deleteService(service), options, { service })
}

export async function zero(
  session: Session,
  service: ServiceKey | undefined,
  options: RequestOptions,
): Promise<void> {
  await session.tell('zero', commands.zero(service), options, service && { service })
}

interface ServiceEdit {
  readonly key: ServiceKey
  readonly changes: ServiceChanges
}

/** Edits services, in order: each is read once, and all are written in one batch. */
async function editServices(
  transport: Transport,
  items: readonly ServiceEdit[],
): Promise<readonly EditOutcome<DecodedService<number>>[]> {
  const edits = items.map(({ key, changes }) => ({
    id: serviceName(key),
    key,
    merge: (current: DecodedService<number>) =>
      withServiceSettings(current, mergeService(current.kernel, changes, familyOfService(key))),
    encode: ({ kernel }: DecodedService<number>) => encodeService(Command.SET_SERVICE, key, kernel),
  }))
  const keys = [...new Map(edits.map((edit) => [edit.id, edit.key]))]
  const replies = await transport.batch(keys.map(([, key]) => encodeService(Command.GET_SERVICE, key)))
  const read = new Map<string, DecodedService<number> | Failure>()
  for await (const some of slices([...keys.entries()])) {
    for (const [index, [id]] of some) {
      const reply = replies[index] ?? {}
      read.set(id, reply.failure ?? answer({ request: LIST_SERVICES, decode: decodeForEdit }, reply))
    }
  }
  return runEdits(transport, edits, read)
}

function decodeForEdit(message: AttributeReader): DecodedService<number> {
  return services.decodeService(message, numbers)
}
