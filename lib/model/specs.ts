import type {
  Counter,
  RealServerKey,
  RealServerSpec,
  RealServerState,
  ServiceSpec,
  ServiceState,
} from './types.ts'

/** A real server with its port, method and weight, and without what else is as by default. */
export type CompleteServer = RealServerSpec & Required<RealServerKey> & { readonly weight: number }

/** What adds a service that was read: without counters, and without what is as by default. */
export function specOfService(state: Omit<ServiceState<Counter>, 'family' | 'stats' | 'rates'>): ServiceSpec {
  return {
    ...state.key,
    scheduler: state.scheduler,
    ...(state.schedulerFlags.length > 0 && { schedulerFlags: state.schedulerFlags }),
    ...(state.onePacket && { onePacket: true }),
    ...(state.persistence !== undefined && { persistence: state.persistence }),
    ...(state.persistenceEngine !== undefined && { persistenceEngine: state.persistenceEngine }),
  }
}

/** What adds a real server that was read, likewise. */
export function specOfServer(
  { address, port }: Required<RealServerKey>,
  { method, weight, upperThreshold, lowerThreshold, tunnel }: ReadSettings,
): CompleteServer {
  // Field by field: spreading costs more than all else here, and a table has ten thousands of these.
  const spec: { -readonly [Name in keyof CompleteServer]: CompleteServer[Name] } = {
    address,
    port,
    method,
    weight,
  }
  if (upperThreshold !== 0) spec.upperThreshold = upperThreshold
  if (lowerThreshold !== 0) spec.lowerThreshold = lowerThreshold
  if (tunnel !== undefined) spec.tunnel = tunnel
  return spec
}

type ReadSettings = Pick<
  RealServerState,
  'method' | 'weight' | 'upperThreshold' | 'lowerThreshold' | 'tunnel'
>
