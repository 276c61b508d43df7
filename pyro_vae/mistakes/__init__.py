r"""The commonest mistakes in Pyro programs over data, each with its sentence.  (layer 5)

A mistake is a function that looks at a :class:`Case` and returns a sentence, or nothing. They are
asked in order: what one asks, those before it have found in order.
"""

from collections.abc import Callable

from . import data, failures, sites, values
from .case import Case

__all__ = ["MISTAKES", "Case"]

MISTAKES: list[Callable[[Case], str | None]] = [
    data.data_are_no_tensor,
    data.one_datum_without_a_batch,
    data.data_are_integers,
    data.data_are_not_finite,
    data.data_have_another_dtype_or_device,
    failures.a_program_does_not_take_the_data,
    failures.a_site_is_named_twice,
    failures.two_plates_have_one_dimension,
    failures.an_event_is_not_declared,
    failures.a_plate_has_another_size,
    failures.latent_sizes_differ,
    failures.a_network_takes_another_size,
    failures.a_program_fails,
    sites.nothing_is_observed,
    sites.the_guide_observes,
    sites.a_latent_variable_has_no_guide,
    sites.the_guide_samples_what_the_model_lacks,
    sites.nothing_can_be_trained,
    sites.sites_have_no_plate,
    sites.an_event_is_not_declared_by_chance,
    sites.an_event_swallows_the_batch,
    sites.plates_differ,
    sites.data_have_another_shape,
    values.a_parameter_is_out_of_range,
    values.data_lie_outside_the_support,
    values.the_guide_leaves_the_prior,
    values.the_loss_is_not_finite,
]
