export type { ApplyOptions, ApplyProgress, ApplyResult } from './apply/apply.ts'
export { ApplyError, type FailedStep } from './apply/errors.ts'
export { formatPlan, type FormatPlanOptions } from './state/format-plan.ts'
export { type Differences, type Plan, type PlanOptions, planStates } from './state/plan.ts'
export { restrictState } from './state/restrict.ts'
export type { RestoreOptions, SaveOptions } from './apply/save.ts'
export type { Scope } from './state/scope.ts'
export type { DrainOptions, DrainProgress, DrainResult } from './apply/drain.ts'
export { IpvsError, type IpvsErrorDetails } from './model/errors.ts'
export { readState, type SaveToFileOptions } from './apply/files.ts'
export { Ipvs, type OpenOptions, type ReadOptions, type SnapshotEntry, type SnapshotOptions } from './ipvs.ts'
export type { FileSource, ReconcileOptions, Reconciler, ReconcileSource } from './apply/reconcile.ts'
export { RealServer, Service } from './service.ts'
export { type Step, STEP_KINDS, type StepKind } from './state/steps.ts'
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
export type { Dump, Failure, Reply, Request, Transport } from './transport/transport.ts'
export type { RequestOptions } from './model/types.ts'
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
} from './model/types.ts'
