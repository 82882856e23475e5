export type { DrainOptions, DrainProgress, DrainResult } from './drain.ts'
export { IpvsError, type IpvsErrorDetails } from './errors.ts'
export { Ipvs, type OpenOptions, type ReadOptions, type SnapshotEntry, type SnapshotOptions } from './ipvs.ts'
export { RealServer, Service } from './service.ts'
export type { Dump, Failure, Reply, Request, RequestOptions, Transport } from './transport/transport.ts'
export type {
  AddressServiceKey,
  Capabilities,
  Connection,
  Counter,
  Family,
  ForwardingMethod,
  FwmarkServiceKey,
  Info,
  Persistence,
  PersistenceSpec,
  Protocol,
  Rates,
  RealServerChanges,
  RealServerKey,
  RealServerSettings,
  RealServerSpec,
  RealServerState,
  Scheduler,
  SchedulerFlag,
  ServiceChanges,
  ServiceKey,
  ServiceSettings,
  ServiceSpec,
  ServiceState,
  State,
  StateService,
  Stats,
  SyncDaemon,
  SyncDaemonSpec,
  SyncDaemonState,
  Timeouts,
  Tunnel,
} from './types.ts'
