"""`GRPOTrainer`: TRL's trainer that measures its signal and spends its work where the gradient is.

It owns no training loop. What it overrides, and why:

_get_train_sampler                  problems whose group is likely to be mixed
_generate_single_turn               rollouts with the adapter merged, prompts computed once
_calculate_rewards                  undecided rows, the outcome gate, live and dead groups, the rollout log
_generate_and_score_completions     an advantage of exactly 0 in dead groups
_prepare_inputs                     live rows only
_compute_loss                       no metric of a micro-batch without a row
_get_per_token_logps_and_entropies  the prompt of a group computed once

Loss and gradient are those of stock TRL on the same completions; where a setting makes a shortcut
inexact, the full computation is done and one line says so.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np
import torch
import trl
from accelerate.utils import gather_object

from warmstart.curriculum import RewardPlan
from warmstart.learning_signal import group_signal, live_groups
from warmstart.models import evaluating, merged
from warmstart.rollouts.decoding import Decoded, decode
from warmstart.rollouts.sampling import Sampling, stream
from warmstart.training import adaptive_sampler, live_rows, refused, rollout_rows, shared_prompts
from warmstart.training.adaptive_sampler import AdaptiveSampler, SamplerKeeper
from warmstart.training.engine import TrlEngine
from warmstart.training.plan_keeper import PlanKeeper
from warmstart.training.signal_config import SignalConfig
from warmstart.training.trackers import use_our_names

_log = logging.getLogger("warmstart")


class GRPOTrainer(trl.GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer` that knows whether it is learning; same arguments, plus ``signal``.

    With an outcome named, a completion whose outcome is undecided (None) is left out of its group
    altogether. TRL alone would sum its other rewards as if the answer were wrong.

    Raises:
        ValueError: If ``signal.outcome`` is not the name of one of the reward functions, if the trainer is given
            tools, environments, a vision model or a model patched by Unsloth, which warmstart does not train, or
            if transformers is to replace its callbacks at a resume.
    """

    def __init__(self, *args: Any, signal: SignalConfig | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.signal = signal or SignalConfig()
        why_refused = refused.why_refused(self, self.signal.outcome)
        if why_refused is not None:
            raise ValueError(why_refused)
        self._own_weights = self.args.reward_weights or [1.0] * len(self.reward_func_names)
        self.plan = PlanKeeper(self.signal.plan)
        if self.signal.plan is not None:
            self.add_callback(self.plan)
            self._weigh(self.signal.plan)
        self.switched_off: dict[str, str] = {}
        """The shortcuts that are off, each with the reason."""
        self.engine = TrlEngine(self) if self.use_vllm else None
        self._pending_rollouts: list[dict[str, Any]] = []
        self._decoded: list[Decoded] | None = None
        self._buffered_inputs: list[live_rows.Batch] | None = None
        self._dead_rows: torch.Tensor | None = None
        self.problems = SamplerKeeper()
        sampling = self.signal.sampling
        why_not = adaptive_sampler.why_not(self, self.signal.outcome is not None)
        if sampling is not None and self._allowed("adaptive sampling", True, why_not):
            self.problems = adaptive_sampler.keeper_of(self, sampling)
            self.add_callback(self.problems)
        self._draw_fast = self._allowed(
            "fast rollouts", self.signal.fast_rollouts, refused.why_not_fast(self)
        )
        self._live_rows_only = self._allowed(
            "live rows only",
            self.signal.live_rows_only,
            live_rows.why_not(self.args, has_auxiliary_loss=self.aux_loss_enabled),
        )
        self._share_prompts = self._allowed(
            "shared prompts",
            self.signal.share_prompts,
            "the router's auxiliary loss is taken over whole rows"
            if self.aux_loss_enabled
            else shared_prompts.why_not(self.model, self.args),
        )
        use_our_names(self)

    def _allowed(self, shortcut: str, wanted: bool, why_not: str | None) -> bool:
        if wanted and why_not is not None:
            self.switched_off[shortcut] = why_not
            if self.accelerator.is_main_process:
                _log.info("%s: off, because %s", shortcut, why_not)
        return wanted and why_not is None

    # -- problems --------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> Any:  # noqa: ANN401
        if self.problems.posterior is None:
            return super()._get_train_sampler(dataset)
        repeats = self.num_iterations * self.args.steps_per_generation
        return AdaptiveSampler(
            self.problems, steps=len(self.train_dataset) // self.problems.problems_per_step, repeats=repeats
        )

    # -- completions -----------------------------------------------------------------------------

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,  # noqa: ANN401
        multimodal_fields: Any,  # noqa: ANN401
        num_generations: int,
        has_tool_images: bool = False,
    ) -> Any:  # noqa: ANN401
        started = time.perf_counter()
        self._decoded = None
        if self._draw_fast:
            self._decoded = self._rollouts(prompt_ids, num_generations)
            # No log-probabilities: TRL takes them for a vLLM's and would correct for a gap there is not.
            generated: Any = ([list(decoded.ids) for decoded in self._decoded], None)
        else:
            if self.engine is not None:
                self.engine.follow()
            generated = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        self._record("time/generate_s", time.perf_counter() - started)
        return generated

    def _rollouts(self, prompt_ids: list[list[int]], group_size: int) -> list[Decoded]:
        model = self.accelerator.unwrap_model(self.model)
        wanted = self.generation_config
        distinct = list(dict.fromkeys(map(tuple, prompt_ids)))
        index = {ids: place for place, ids in enumerate(distinct)}
        # A row's place in the whole batch keys its random stream: one process or eight, the same draws.
        first = self.accelerator.process_index * len(prompt_ids)
        places = range(first, first + len(prompt_ids))
        if model.training:
            batch = self._step % self.args.gradient_accumulation_steps
            keys: list[tuple[Any, ...]] = [
                ("train", self.state.global_step, batch, place // group_size) for place in places
            ]
        else:
            # All batches of an evaluation come at one step, each from place 0 on: the prompt tells them apart.
            keys = [("eval", self.state.global_step, tuple(ids)) for ids in prompt_ids]
        draws = [
            stream(wanted.max_new_tokens, self.args.seed, *key, place % group_size)
            for key, place in zip(keys, places, strict=True)
        ]
        with evaluating(model), merged(model):
            return decode(
                model,
                distinct,
                [index[tuple(ids)] for ids in prompt_ids],
                draws,
                sampling=Sampling.of(wanted),
                max_tokens=wanted.max_new_tokens,
                stops=self.eos_token_ids,
                pad=self._tokenizer.pad_token_id,
            )

    # -- rewards ---------------------------------------------------------------------------------

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        started = time.perf_counter()
        rewards: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if not self.model.training:
            return rewards
        if self.signal.reward_faults is not None:
            process, step = self.accelerator.process_index, self.state.global_step + 1
            out = self.signal.reward_faults.left_out(len(rewards), process=process, step=step)
            rewards[out.to(rewards.device)] = torch.nan
            self._record("signal/reward_fault_share", float(out.float().mean()))
        outcome = self._outcome(rewards)
        if self.signal.outcome is not None:
            rewards[torch.isnan(outcome)] = torch.nan
        plan = self.plan.plan
        if plan is not None:
            self._weigh(plan)
        self._measure(rewards, outcome, completion_ids_list)
        if self.problems.posterior is not None:
            self._record("signal/expected_live_share", self.problems.learn(outcome))
        if self.signal.on_rollouts is not None:
            self._keep(inputs, completions, completion_ids_list, rewards)
        if plan is not None:
            self._advance(rewards, outcome)
        if self.signal.outcome is not None and self.signal.gate and (plan is None or plan.is_gated):
            rewards = live_rows.gated(rewards, outcome, self.num_generations)
        self._dead_rows = live_rows.dead_rows(self._compared(rewards), self.num_generations)
        self._record("time/score_s", time.perf_counter() - started)
        return rewards

    def _record(self, name: str, value: float) -> None:
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    def _outcome(self, rewards: torch.Tensor) -> torch.Tensor:
        """Return 1 for right, 0 for not right, NaN for undecided; shape (completions,)."""
        if self.signal.outcome is None:
            return torch.full_like(rewards[:, 0], torch.nan)
        column = rewards[:, self.reward_func_names.index(self.signal.outcome)]
        return torch.where(torch.isnan(column), column, (column > 0).to(column.dtype))

    def _weigh(self, plan: RewardPlan) -> None:
        weights = plan.weights
        self.reward_weights = torch.tensor(
            [
                weights.get(name, own)
                for name, own in zip(self.reward_func_names, self._own_weights, strict=True)
            ],
            dtype=torch.float32,
        )

    def _advance(self, rewards: torch.Tensor, outcome: torch.Tensor) -> None:
        """Let the plan see this step; what it changes counts from the next one on."""
        columns = dict(zip(self.reward_func_names, rewards.T.cpu().double().numpy(), strict=True))
        why = self.plan.see(columns, outcome.view(-1, self.num_generations).cpu().double().numpy())
        if why is not None and self.signal.on_plan is not None and self.accelerator.is_main_process:
            self.signal.on_plan(self.state.global_step + 1, why)

    def _totals(self, rewards: torch.Tensor) -> torch.Tensor:
        totals = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        return torch.where(torch.isnan(rewards).all(dim=1), torch.nan, totals)

    def _compared(self, rewards: torch.Tensor) -> torch.Tensor:
        """Return the values by which completions of a group are told apart, (completions, values).

        Their total; or, where TRL normalises each reward by itself, every reward that has a weight: two that
        cancel in the total do not in the advantage.
        """
        if self.multi_objective_aggregation == "sum_then_normalize":
            return self._totals(rewards).unsqueeze(1)
        return rewards[:, self.reward_weights.to(rewards.device) != 0]

    def _measure(
        self, rewards: torch.Tensor, outcome: torch.Tensor, completion_ids_list: list[list[int]]
    ) -> None:
        groups = (-1, self.num_generations)
        compared = self._compared(rewards).T.cpu().double().numpy()
        live = np.any([live_groups(values.reshape(groups)) for values in compared], axis=0)
        signal = group_signal(live, outcome.view(groups).cpu().double().numpy())
        self._record("signal/live_share", signal.live)
        if self.signal.outcome is not None:
            self._record("signal/mixed_share", signal.mixed)
            self._record("signal/all_fail_share", signal.all_fail)
            self._record("signal/all_pass_share", signal.all_pass)
            self._record("signal/undecided_share", float(torch.isnan(outcome).float().mean()))
        written = float(sum(len(ids) for ids in completion_ids_list))
        nats = sum(len(decoded.ids) * decoded.entropy for decoded in self._decoded or ())
        sums = self.accelerator.gather(torch.tensor([[written, nats]], device=rewards.device)).sum(dim=0)
        self._record("signal/generated_tokens", float(sums[0]))
        if self._decoded is not None:
            # TRL's entropy is the mean of micro-batches of unlike size, and 0 where no row is live.
            self._record("signal/entropy", float(sums[1] / sums[0]))

    def _keep(
        self,
        inputs: list[dict[str, Any]],
        completions: list[Any],
        completion_ids_list: list[list[int]],
        rewards: torch.Tensor,
    ) -> None:
        decoded, prefill = self._decoded, self.signal.prefill
        written = rollout_rows.written(inputs, completions, completion_ids_list, decoded, prefill)
        self._pending_rollouts = rollout_rows.scored(
            gather_object(written),
            rewards.cpu().double().numpy(),
            self._totals(rewards).cpu().double().numpy(),
            names=self.reward_func_names,
            group_size=self.num_generations,
            step=self.state.global_step + 1,
            stage=None if self.plan.plan is None else self.plan.plan.stage,
            outcome=self.signal.outcome,
            tags=self.signal.tags,
        )

    # -- the update ------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: Any) -> Any:  # noqa: ANN401
        self._dead_rows = None
        scored = super()._generate_and_score_completions(inputs)
        if self._dead_rows is not None:
            rows = scored["advantages"].shape[0]
            first = self.accelerator.process_index * rows
            scored["advantages"][self._dead_rows[first : first + rows]] = 0.0
        return scored

    def _prepare_inputs(self, generation_batch: Any) -> Any:  # noqa: ANN401
        every = self.args.steps_per_generation * self.num_iterations
        is_new = self.model.training and (self._step % every == 0 or self._buffered_inputs is None)
        if not (is_new and self._live_rows_only):
            prepared = super()._prepare_inputs(generation_batch)
            self._send_rollouts()
            return prepared
        scored = self._generate_and_score_completions(generation_batch)
        self._send_rollouts()
        self._buffered_inputs = self._live_micro_batches(scored)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _live_micro_batches(self, scored: live_rows.Batch) -> list[live_rows.Batch]:
        _, group = shared_prompts.groups_of(scored["prompt_ids"], scored["prompt_mask"])
        rows = live_rows.live_rows(scored["advantages"], group)
        bins = self.args.steps_per_generation
        stock_rows = scored["advantages"].shape[0] // bins
        lengths = scored["completion_mask"].sum(dim=1)[rows].tolist()
        # A generation that is not cut at optimizer steps is cut where both are.
        updates = bins // math.gcd(bins, self.args.gradient_accumulation_steps)
        prompt = float(scored["prompt_mask"].sum(dim=1).max()) if self._share_prompts else 0.0
        groups = group[rows].tolist()
        shares = live_rows.share_out(groups, lengths, bins, stock_rows, prompt=prompt, updates=updates)
        sizes = torch.tensor([[len(share) for share in shares]], device=rows.device)
        sizes = self.accelerator.gather(sizes).view(-1, bins).amax(dim=0)
        updated = torch.tensor([len(rows) / scored["advantages"].shape[0]], device=rows.device)
        self._record("signal/update_share", float(self.accelerator.gather(updated).mean()))
        return [
            live_rows.micro_batch(
                scored,
                rows[share].tolist(),
                size=max(1, int(size)),
                stock_rows=stock_rows,
                loss_type=self.loss_type,
            )
            | {"is_filler": bool(size == 0 and sizes.any())}
            for share, size in zip(shares, sizes, strict=True)
        ]

    def _compute_loss(self, model: Any, inputs: live_rows.Batch) -> torch.Tensor:  # noqa: ANN401
        metrics = self._metrics["train" if self.model.training else "eval"]
        before = {name: len(values) for name, values in metrics.items()}
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        if inputs.get("is_filler"):
            # TRL takes the mean over micro-batches, and one without a token has an entropy of 0.
            for name, values in metrics.items():
                del values[before.get(name, 0) :]
        return loss

    def _send_rollouts(self) -> None:
        if not self._pending_rollouts or self.signal.on_rollouts is None:
            return
        # TRL computes the advantages after the rewards; its log holds them in the same order.
        advantages = list(self._logs["advantages"])[-len(self._pending_rollouts) :]
        dead = [False] * len(advantages) if self._dead_rows is None else self._dead_rows.tolist()
        for row, advantage, is_dead in zip(self._pending_rollouts, advantages, dead, strict=True):
            row["advantage"] = 0.0 if is_dead else advantage
        if self.accelerator.is_main_process:
            self.signal.on_rollouts(self.state.global_step + 1, self._pending_rollouts)
        self._pending_rollouts = []

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,  # noqa: ANN401
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **multimodal: Any,  # noqa: ANN401
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        shared = input_ids.shape[1] - logits_to_keep - 1
        if not self._share_prompts or shared < 1:
            return super()._get_per_token_logps_and_entropies(  # type: ignore[no-any-return]
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                compute_aux_loss=compute_aux_loss,
                **multimodal,
            )
        size = batch_size or input_ids.shape[0]
        with self.accelerator.autocast():
            scored = [
                shared_prompts.score(
                    model, ids, mask, logits_to_keep, packed=self.args.gradient_checkpointing
                )
                for ids, mask in zip(
                    torch.split(input_ids, size), torch.split(attention_mask, size), strict=True
                )
            ]
        log_probs = torch.cat([log_prob for log_prob, _ in scored])
        return log_probs, torch.cat([entropy for _, entropy in scored]) if compute_entropy else None, None
