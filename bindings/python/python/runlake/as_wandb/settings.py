"""`wandb.Settings`: what `wandb.init` goes by where it is given no argument, and the variables behind that."""

from __future__ import annotations

import os
from collections.abc import Mapping

from runlake._errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLES = {
    "entity": "WANDB_ENTITY",
    "project": "WANDB_PROJECT",
    "root_dir": "WANDB_DIR",
    "run_id": "WANDB_RUN_ID",
    "run_name": "WANDB_NAME",
    "run_group": "WANDB_RUN_GROUP",
    "run_job_type": "WANDB_JOB_TYPE",
    "run_notes": "WANDB_NOTES",
    "run_tags": "WANDB_TAGS",
    "mode": "WANDB_MODE",
    "resume": "WANDB_RESUME",
    "resume_from": "WANDB_RESUME_FROM",
    "fork_from": "WANDB_FORK_FROM",
    "reinit": "WANDB_REINIT",
    "silent": "WANDB_SILENT",
    "host": "WANDB_HOST",
    "username": "WANDB_USERNAME",
    "program": "WANDB_PROGRAM",
    "disable_git": "WANDB_DISABLE_GIT",
}
"""The settings that count here, and the variable of each."""

_FLAGS = frozenset({"silent", "disable_git"})

_WITHOUT_EFFECT = """
allow_val_change config_paths quiet
allow_media_symlink allow_offline_artifacts anonymous api_key azure_account_url_to_access_key app_url_override
base_url capture_loggers code_dir console console_chunk_max_bytes console_chunk_max_seconds console_multipart
credentials_file disable_code disable_git_fork_point disable_job_creation docker email finish_timeout
finish_timeout_raises force git_commit git_remote git_remote_url git_root heartbeat_seconds http_proxy https_proxy
identity_token_file ignore_globs init_timeout insecure_disable_ssl job_name job_source label_disable launch
launch_config_path login_timeout max_end_of_run_history_metrics max_end_of_run_summary_metrics notebook_name
organization program_abspath program_relpath relogin resumed sagemaker_disable save_code settings_system show_colors
show_emoji show_errors show_info show_warnings stop_fn stop_on_fatal_error strict summary_timeout summary_warnings
sweep_id sweep_param_path symlink sync_tensorboard table_raise_on_max_row_limit_exceeded use_dot_wandb x_cli_only_mode
x_disable_machine_info x_disable_meta x_disable_stats x_disable_viewer x_executable x_extra_http_headers
x_file_stream_max_bytes x_file_stream_max_line_bytes x_file_stream_no_gzip x_file_stream_retry_max
x_file_stream_retry_wait_max_seconds x_file_stream_retry_wait_min_seconds x_file_stream_timeout_seconds
x_file_stream_transmit_interval x_file_transfer_retry_max x_file_transfer_retry_wait_max_seconds
x_file_transfer_retry_wait_min_seconds x_file_transfer_timeout_seconds x_files_dir x_flow_control_custom
x_flow_control_disabled x_graphql_retry_max x_graphql_retry_wait_max_seconds x_graphql_retry_wait_min_seconds
x_graphql_timeout_seconds x_history_value_encoding x_internal_check_process x_jupyter_name x_jupyter_path
x_jupyter_root x_label x_live_policy_rate_limit x_live_policy_wait_time x_log_level x_network_buffer x_primary
x_proxies x_runqueue_item_id x_save_requirements x_server_side_derived_summary x_service_transport x_service_wait
x_skip_transaction_log x_start_time x_stats_buffer_size x_stats_coreweave_metadata_base_url
x_stats_coreweave_metadata_endpoint x_stats_cpu_count x_stats_cpu_logical_count x_stats_dcgm_exporter
x_stats_disk_paths x_stats_gpu_count x_stats_gpu_device_ids x_stats_gpu_type x_stats_neuron_monitor_config_path
x_stats_no_cgroup x_stats_open_metrics_endpoints x_stats_open_metrics_filters x_stats_open_metrics_http_headers
x_stats_pid x_stats_sampling_interval x_stats_self_usage x_stats_track_process_tree x_sync x_sync_dir_suffix
x_transaction_log_flush_interval x_update_finish_state
"""
WITHOUT_EFFECT = frozenset(_WITHOUT_EFFECT.split())
"""The settings that are taken and change nothing: what they are about, servers most often, is not there."""

# What old programs still pass, and wandb still takes.
_FORMER = frozenset({"start_method", "_disable_stats", "_disable_meta", "_service_wait", "_stats_sample_rate_seconds"})


class Settings:
    """Settings by name: those that count here (`VARIABLES`), and those that change nothing (`WITHOUT_EFFECT`).

    What is not given comes from the environment, when a run starts.

    >>> import runlake
    >>> runlake.alias_wandb()
    >>> import wandb
    >>> with wandb.init(settings=wandb.Settings(project="digits", run_name="first", x_disable_stats=True)) as run:
    ...     run.project, run.name
    ('digits', 'first')
    """

    model_fields = dict.fromkeys(sorted({*VARIABLES, *WITHOUT_EFFECT}))

    def __init__(self, **settings: Any) -> None:
        for name, value in settings.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.model_fields and name not in _FORMER:
            import difflib

            near = difflib.get_close_matches(name, self.model_fields, 3, 0.6)
            raise InvalidArgument(
                f"settings: wandb has no setting {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
            )
        vars(self)[name] = value

    def __getattr__(self, name: str) -> Any:
        if name in self.model_fields:
            return None
        raise AttributeError(f"settings: wandb has no setting {name!r}")

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """A setting, or something else where it was not given."""
        return vars(self).get(name, default)

    def items(self) -> list[tuple[str, Any]]:
        """What was given."""
        return list(vars(self).items())

    def model_dump(self) -> dict[str, Any]:
        """All settings; those that were not given are `None`."""
        return {name: getattr(self, name) for name in self.model_fields}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Settings:
        """A copy, with some settings changed."""
        return Settings(**{**vars(self), **(update or {})})

    def update_from_dict(self, settings: Mapping[str, Any]) -> None:
        """Sets several."""
        for name, value in settings.items():
            if value is not None:
                setattr(self, name, value)

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def resolved(settings: Settings | Mapping[str, Any] | None, **given: Any) -> Settings:
    """Settings of what was given, else of `settings`, else of the environment."""
    found = Settings()
    for name, variable in VARIABLES.items():
        if (text := os.environ.get(variable)) is not None and text != "":
            setattr(found, name, _read(name, text))
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1"):
        found.mode = "disabled"
    found.update_from_dict(dict(settings.items()) if settings is not None else {})
    found.update_from_dict(given)
    return found


def _read(name: str, text: str) -> Any:
    if name in _FLAGS:
        return text.strip().lower() not in ("0", "false", "no", "off")
    if name == "run_tags":
        return [tag.strip() for tag in text.split(",") if tag.strip()]
    return text
