//! /healthz and /varz.
