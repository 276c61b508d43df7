r"""The commonest mistakes in Pyro programs over data, each with its sentence.  (layer 5)

A mistake is a function that looks at a :class:`Case` and returns a sentence, or nothing. They are
asked in order: what one asks, those before it have found in order. Those of a failure are asked
only where a step fails; the others are wrong silently.
"""

from typing import Any

from . import data, failures, sites, values
from .case import Case, Mistake

__all__ = ["MISTAKES", "Case", "first_mistake"]

MISTAKES: list[Mistake] = [
    data.data_are_no_tensor,
    data.there_are_no_data,
    data.one_datum_without_a_batch,
    data.data_have_another_layout,
    failures.a_program_does_not_take_the_data,
    data.data_are_integers,
    data.data_are_not_finite,
    data.data_have_another_dtype_or_device,
    failures.a_site_is_named_twice,
    failures.two_plates_have_one_dimension,
    failures.a_site_has_no_distribution,
    failures.data_are_no_tensor_at_their_site,
    failures.an_event_is_not_declared,
    failures.a_plate_has_another_size,
    sites.an_event_swallows_the_batch,
    failures.latent_shapes_differ,
    failures.a_network_takes_another_size,
    sites.nothing_is_observed,
    sites.the_guide_observes,
    sites.a_latent_variable_has_no_guide,
    sites.the_guide_samples_what_the_model_lacks,
    failures.a_program_fails,
    sites.nothing_can_be_trained,
    sites.a_network_is_hidden,
    sites.sites_have_no_plate,
    sites.an_event_is_not_declared_by_chance,
    sites.plates_differ,
    sites.a_plate_has_other_rows,
    sites.a_weight_acts_in_one_program,
    sites.data_have_another_shape,
    values.a_parameter_is_out_of_range,
    values.data_lie_outside_the_support,
    values.the_guide_leaves_the_prior,
    values.the_loss_is_not_finite,
    failures.a_step_fails,
]


def first_mistake(vae: Any, x: Any, **known: Any) -> str | None:
    r"""Returns the sentence of the first mistake in a program and its data, or nothing."""
    case = Case(vae, x, known)
    return next((told for mistake in MISTAKES if (told := mistake(case)) is not None), None)
