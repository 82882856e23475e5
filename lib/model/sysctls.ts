/**
 * The sysctls of net.ipv4.vs that belong to a network namespace, up to Linux
 * 7.2 (vs_vars of ip_vs_ctl.c, and one each of the schedulers lblc and lblcr
 * while their modules are loaded). No kernel has them all. `debug_level`, which is
 * the machine's, is not among them.
 */
export const SYSCTLS: readonly string[] = [
  'am_droprate',
  'amemthresh',
  'backup_only',
  'cache_bypass',
  'conn_lfactor',
  'conn_max',
  'conn_reuse_mode',
  'conntrack',
  'drop_entry',
  'drop_packet',
  'est_cpulist',
  'est_nice',
  'expire_nodest_conn',
  'expire_quiescent_template',
  'ignore_tunneled',
  'lblc_expiration',
  'lblcr_expiration',
  'nat_icmp_send',
  'pmtu_disc',
  'run_estimation',
  'schedule_icmp',
  'secure_tcp',
  'sloppy_sctp',
  'sloppy_tcp',
  'snat_reroute',
  'svc_lfactor',
  'sync_persist_mode',
  'sync_ports',
  'sync_qlen_max',
  'sync_refresh_period',
  'sync_retries',
  'sync_sock_size',
  'sync_threshold',
  'sync_version',
]

/**
 * Those of a scheduler's module, by name: there from the time that it is
 * loaded, in every network namespace, with this value.
 */
export const SCHEDULER_SYSCTLS: ReadonlyMap<string, { readonly scheduler: string; readonly value: string }> =
  new Map([
    ['lblc_expiration', { scheduler: 'lblc', value: '86400' }],
    ['lblcr_expiration', { scheduler: 'lblcr', value: '86400' }],
  ])
