export type { DrainOptions, DrainProgress, DrainResult } from './apply/drain.ts'
export { ApplyError, type FailedStep } from './apply/errors.ts'
export { readState, type SaveToFileOptions } from './apply/files.ts'
export type { ApplyOptions, ApplyProgress, ApplyResult } from './apply/options.ts'
export type { FileSource, ReconcileOptions, Reconciler, ReconcileSource } from './apply/reconcile.ts'
export type { RestoreOptions, SaveOptions } from './apply/save.ts'
export type { SetRealServersOptions } from './apply/set-real-servers.ts'
export { diagnose } from './doctor/diagnose.ts'
export type { Explanation, Finding, FindingCode, Role, Severity } from './doctor/findings/finding.ts'
export type { DiagnoseOptions } from './doctor/options.ts'
export { Ipvs, type SnapshotEntry } from './ipvs.ts'
export type { ApplyErrorCode, ErrorCode, IpvsErrorCode, OwnErrorCode } from './model/error-codes.ts'
export { IpvsError, type IpvsErrorDetails } from './model/errors.ts'
export type {
  AddressServiceKey,
  Capabilities,
  Connection,
  Counter,
  CounterOf,
  Endpoint,
  Family,
  ForwardingMethod,
  FwmarkServiceKey,
  Info,
  Persistence,
  PersistenceSpec,
  Protocol,
  Rates,
  ReadOptions,
  RealServerChanges,
  RealServerKey,
  RealServerSettings,
  RealServerSpec,
  RealServerState,
  RequestOptions,
  Scheduler,
  SchedulerFlag,
  ServiceChanges,
  ServiceKey,
  ServiceSettings,
  ServiceSpec,
  ServiceState,
  SavedState,
  State,
  StateService,
  Stats,
  SyncDaemon,
  SyncDaemonSpec,
  SyncDaemonState,
  TimeoutChanges,
  Timeouts,
  Totals,
  Tunnel,
} from './model/types.ts'
export { printable } from './model/printable.ts'
export { RealServer, Service } from './service.ts'
export { LockedError, type LockOptions, type TableLock } from './session/lock.ts'
export type { OpenOptions } from './session/open.ts'
export type { StepOutcome } from './session/run-steps.ts'
export type { SnapshotOptions } from './session/snapshot.ts'
export { formatPlan, type FormatPlanOptions } from './state/format-plan.ts'
export type { PlanOptions } from './state/goal.ts'
export { type Differences, type Plan, planStates } from './state/plan.ts'
export { restrictState } from './state/restrict.ts'
export type { Scope } from './state/scope.ts'
export { type ReadService, type Warning, type WarningCode, warningsOf } from './state/warnings.ts'
export { type RunnableStep, type Step, STEP_KINDS, type StepKind } from './state/steps.ts'
export {
  compareEndpoints,
  compareServiceKeys,
  detectStateFormat,
  formatEndpoint,
  formatServiceKey,
  formatState,
  type FormatStateOptions,
  formatTunnel,
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
export type {
  Dump,
  Failure,
  LockHolder,
  OpenFile,
  Reply,
  Request,
  Transport,
  TransportLock,
} from './transport/transport.ts'
