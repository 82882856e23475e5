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
  state: Omit<
    RealServerState<Counter>,
    'family' | 'stats' | 'rates' | 'activeConnections' | 'inactiveConnections' | 'persistentConnections'
  >,
): CompleteServer {
  return {
    address: state.address,
    port: state.port,
    method: state.method,
    weight: state.weight,
    ...(state.upperThreshold !== 0 && { upperThreshold: state.upperThreshold }),
    ...(state.lowerThreshold !== 0 && { lowerThreshold: state.lowerThreshold }),
    ...(state.tunnel !== undefined && { tunnel: state.tunnel }),
  }
}
