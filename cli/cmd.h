/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CMD_H
#define CLI_CMD_H

/* The commands: each gives the exit status and has said on standard error why, when it is not 0. */

struct cli;

int cmd_deploy(struct cli *cli);
int cmd_diff(struct cli *cli);
int cmd_down(struct cli *cli);
int cmd_rollback(struct cli *cli);
int cmd_history(struct cli *cli);
int cmd_restart(struct cli *cli);
int cmd_rollout_pause(struct cli *cli);
int cmd_rollout_resume(struct cli *cli);
int cmd_rollout_abort(struct cli *cli);
int cmd_status(struct cli *cli);
int cmd_ps(struct cli *cli);
int cmd_logs(struct cli *cli);
int cmd_exec(struct cli *cli);
int cmd_scale(struct cli *cli);
int cmd_stop(struct cli *cli);
int cmd_start(struct cli *cli);
int cmd_rm(struct cli *cli);
int cmd_job_run(struct cli *cli);
int cmd_job_ls(struct cli *cli);
int cmd_job_cancel(struct cli *cli);
int cmd_cron_ls(struct cli *cli);
int cmd_cron_enable(struct cli *cli);
int cmd_cron_disable(struct cli *cli);
int cmd_explain(struct cli *cli);
int cmd_events(struct cli *cli);
int cmd_observe(struct cli *cli);
int cmd_image_ls(struct cli *cli);
int cmd_image_import(struct cli *cli);
int cmd_image_rm(struct cli *cli);
int cmd_image_pull(struct cli *cli);
int cmd_image_prune(struct cli *cli);
int cmd_cert_authority(struct cli *cli);
int cmd_backup(struct cli *cli);
int cmd_backup_verify(struct cli *cli);
int cmd_restore(struct cli *cli);
int cmd_recover(struct cli *cli);
int cmd_invite(struct cli *cli);
int cmd_join(struct cli *cli);
int cmd_leave(struct cli *cli);
int cmd_cluster_show(struct cli *cli);
int cmd_cluster_admission(struct cli *cli);
int cmd_node_ls(struct cli *cli);
int cmd_node_show(struct cli *cli);
int cmd_node_label(struct cli *cli);
int cmd_node_taint(struct cli *cli);
int cmd_node_drain(struct cli *cli);
int cmd_node_undrain(struct cli *cli);
int cmd_node_rotate(struct cli *cli);
int cmd_node_rm(struct cli *cli);
int cmd_validate(struct cli *cli);
int cmd_spec_dump(struct cli *cli);
int cmd_cni(struct cli *cli);
int cmd_version(struct cli *cli);
int cmd_completion(struct cli *cli);

#endif
