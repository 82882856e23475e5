export type { ApplyOptions, ApplyProgress, ApplyResult } from './apply/apply.ts'
export { ApplyError, type FailedStep } from './apply/errors.ts'
export { formatPlan, type FormatPlanOptions } from './apply/format.ts'
export { type Differences, type Plan, type PlanOptions, planStates } from './apply/plan.ts'
export { restrictState } from './apply/restrict.ts'
export type { RestoreOptions, SaveOptions } from './apply/save.ts'
export type { Scope } from './apply/scope.ts'
export type { DrainOptions, DrainProgress, DrainResult } from './drain.ts'
export { IpvsError, type IpvsErrorDetails } from './errors.ts'
export { readState, type SaveToFileOptions } from './files.ts'
export { Ipvs, type OpenOptions, type ReadOptions, type SnapshotEntry, type SnapshotOptions } from './ipvs.ts'
export type { FileSource, ReconcileOptions, Reconciler, ReconcileSource } from './reconcile.ts'
export { RealServer, Service } from './service.ts'
export { type Step, STEP_KINDS, type StepKind } from './steps.ts'
export {
  detectStateFormat,
  formatEndpoint,
  formatServiceKey,
  formatState,
  type FormatStateOptions,
  type Lookups,
  parseEndpoint,
  parseServiceKey,
  parseState,
  type ParseStateOptions,
  type StateFormat,
  type StateLoss,
  StateSyntaxError,
  type StateSyntaxErrorDetails,
} from './text.ts'
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
  Totals,
  Tunnel,
} from './types.ts'
